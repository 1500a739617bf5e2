"""The RGB pixels of a picture, in one way for training, tests, predictions and exported models.

Needs PIL and numpy alone: an exported folder holds a copy of this file.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageOps

try:
    from pillow_heif import register_heif_opener
except ImportError:
    HEIF: tuple[str, ...] = ()
else:
    register_heif_opener()
    HEIF = ("HEIF",)
# Read by content, whatever a file is called. Not all that PIL knows: it hands PostScript to a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", *HEIF)
WHITE = {"I": 65535.0, "F": 1.0}  # of deep pixels in their full range, by the first letter of PIL's mode; black is 0


@dataclass(frozen=True)
class Reading:
    """How the images of a data set are read. The default is CoOp's: PIL's `convert("RGB")` and nothing else.

    Attributes:
        upright: turn photographs as their camera was held (EXIF).
        background: the colour behind transparent pixels, by any name that PIL knows; "" shows what is hidden there.
        low, high: the values of deep pixels (16 bits, 32 bits, fractions) that are black and white, one range for a
            whole data set; None for the full one, from 0 to 65535, or to 1 for fractions.
    """

    upright: bool = False
    background: str = ""
    low: float | None = None
    high: float | None = None

    def rgb(self, image: Image.Image) -> Image.Image:
        """The image in RGB with 8 bits a channel. Raises what PIL raises for a damaged file."""
        if self.upright:
            image = ImageOps.exif_transpose(image)
        if is_deep(image):
            image = self._eight_bits(image)
        elif self.background and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, ImageColor.getrgb(self.background))
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        return image.convert("RGB")

    def black_and_white(self, white: float) -> tuple[float, float]:
        """The values that are black and white of deep pixels whose full range ends at `white`."""
        return (0.0, white) if self.low is None or self.high is None else (self.low, self.high)

    def _eight_bits(self, image: Image.Image) -> Image.Image:
        low, high = self.black_and_white(WHITE[image.mode[0]])
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=low).clip(low, high)
        return Image.fromarray(((values - low) * (255.0 / (high - low))).round().astype(np.uint8))


def is_deep(image: Image.Image) -> bool:
    """Whether the pixels have more than the 8 bits that RGB has."""
    return image.mode[0] in WHITE
