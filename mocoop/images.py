"""Image files: which files are images, how a run reads them, and reading one."""

import os
from collections.abc import Mapping

from PIL import Image

from mocoop.errors import ConfigError, DataError, quoted, reason_of
from mocoop.files import check_plain_file
from mocoop.pixels import FORMATS, HEIF, Reading

MAX_ASPECT = 400  # long side over short side: resized by its short side, a thin image grows
AS_COOP = Reading()
OWN, FULL, MINMAX = "Folder", "full", "minmax"  # the data set of own images, and words for DATASET.FOLDER.RANGE

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
IMAGE_SUFFIXES: tuple[str, ...] = (*JPEG_SUFFIXES, ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
IMAGE_SUFFIXES += HEIC_SUFFIXES if HEIF else ()
NOT_READ = {
    "a format that is not read, to be saved as PNG or JPEG": ".avif .jxl .jp2 .svg .eps .psd .pdf .ico .tga .exr .hdr "
    ".dng .raw .cr2 .cr3 .nef .arw .dcm .nii .npy .npz .mat",
    "a video, whose frames may be saved as images": ".mp4 .avi .mov .mkv .webm .m4v",
    "an archive, to be unpacked": ".zip .tar .gz .tgz .rar .7z",
}


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    return name[:1] != "." and name.lower().endswith(IMAGE_SUFFIXES)


def why_no_image(suffix: str) -> str:
    """Why files with a suffix, in small letters, are not read as images."""
    if suffix in HEIC_SUFFIXES:
        return "they need the package pillow-heif (pip install pillow-heif)"
    for reason, suffixes in NOT_READ.items():
        if suffix in suffixes.split():
            return reason
    return "no image by the suffix" if suffix else "without a suffix"


def reading_of(cfg: Mapping) -> Reading:
    """How a run with this config, or with its plain values, reads images: its own data set's, and others later.

    The published data sets are read as CoOp reads them. Raises ConfigError for a DATASET.FOLDER.RANGE or BACKGROUND
    that is none.
    """
    dataset = cfg["DATASET"]
    node = dataset.get("FOLDER") or {}
    if dataset.get("NAME") != OWN and not node.get("READ"):
        return AS_COOP
    return own_reading(node.get("READ") or node.get("RANGE", FULL), node.get("BACKGROUND", "white"))


def own_reading(span: str, background: str) -> Reading:
    """The reading of own images: `span` is "full", "low,high", or "minmax" of images that are not known, so full."""
    low = high = None
    if span not in (FULL, MINMAX):
        try:
            low, high = map(float, span.split(","))
        except ValueError:
            low, high = 0.0, 0.0
        if not -1e38 < low < high < 1e38:
            raise ConfigError(
                f'DATASET.FOLDER.RANGE is {quoted(span)}, expected "{FULL}", "{MINMAX}", or the values of black and '
                'white, as in "0,4095"'
            )
    try:
        Reading(background=background).rgb(Image.new("LA", (1, 1)))
    except ValueError:
        raise ConfigError(
            f'DATASET.FOLDER.BACKGROUND is {quoted(background)}, expected a colour such as "white" or "#808080", or ""'
        ) from None
    return Reading(True, background, low, high)


def read_image(path: str | os.PathLike, reading: Reading = AS_COOP) -> Image.Image:
    """The image at `path` in RGB. Raises DataError naming the file if it is missing or is no readable image."""
    try:
        with open_image(path) as image:
            return reading.rgb(image)
    except FileNotFoundError:
        raise DataError(f'no image file "{path}"; check DATASET.ROOT and the dataset\'s split file') from None
    except DataError as error:
        raise DataError(f"{error}; restore it or remove it from the split") from error
    except Exception as error:  # PIL's readers fail in many ways on damaged files
        raise DataError(
            f'cannot read image "{path}": {reason_of(error)}; restore it or remove it from the split'
        ) from error


def open_image(path: str | os.PathLike) -> Image.Image:
    """The image file at `path`, opened and not yet decoded.

    Raises DataError for what is no plain file and for an image beyond MAX_ASPECT, and what PIL raises for others, one
    with more pixels than it takes for honest among them.
    """
    if not os.path.isfile(path):
        check_plain_file(path)  # which says what it is
    image = Image.open(os.fspath(path), formats=FORMATS)
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        image.close()
        raise DataError(f'image "{path}" has {width} x {height} pixels, expected sides of at most 1 : {MAX_ASPECT}')
    return image
