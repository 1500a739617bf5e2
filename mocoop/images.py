"""Reading one image file."""

import os

from PIL import Image

from mocoop.errors import DataError, reason_of
from mocoop.files import check_plain_file

MAX_ASPECT = 400  # long side over short side: resized by its short side, a thin image grows
# Read by content, whatever a file is called. Not all that PIL knows: it hands PostScript to a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


def read_image(path) -> Image.Image:
    """The image at `path` in RGB. Raises DataError naming the file if it is missing or is no readable image."""
    try:
        with open_image(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f'no image file "{path}"; check DATASET.ROOT and the dataset\'s split file') from None
    except DataError as error:
        raise DataError(f"{error}; restore it or remove it from the split") from error
    except Exception as error:  # PIL's readers fail in many ways on damaged files
        raise DataError(
            f'cannot read image "{path}": {reason_of(error)}; restore it or remove it from the split'
        ) from error


def open_image(path) -> Image.Image:
    """The image file at `path`, opened and not yet decoded.

    Raises DataError for what is no plain file and for an image beyond MAX_ASPECT, and what PIL raises for others, one
    with more pixels than it takes for honest among them.
    """
    check_plain_file(path)
    image = Image.open(os.fspath(path), formats=FORMATS)
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        image.close()
        raise DataError(f'image "{path}" has {width} x {height} pixels, expected sides of at most 1 : {MAX_ASPECT}')
    return image
