"""Reading one image file."""

from PIL import Image

from mocoop.errors import DataError


def read_image(path) -> Image.Image:
    """The image at `path` in RGB. Raises DataError naming the file if it is missing or is no readable image."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f'no image file "{path}"; check DATASET.ROOT and the dataset\'s split file') from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f'cannot read image "{path}": {reason}; restore it or remove it from the split') from error
