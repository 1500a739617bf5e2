"""Random augmentation of PIL images: RandAugment (Cubuk et al., 2019) in three forms, with the draws of Dassl's.

An operation takes an image and a strength; its table below says which strengths there are.
"""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

PATCH_COLOUR = (125, 123, 114)
MAX_MAGNITUDE = 30


def _random_sign(value):
    return -value if random.random() > 0.5 else value


def _affine(image, *coefficients):
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


def identity(image, _):
    return image


def autocontrast(image, _):
    return ImageOps.autocontrast(image)


def equalize(image, _):
    return ImageOps.equalize(image)


def invert(image, _):
    return ImageOps.invert(image)


def rotate(image, degrees):
    return image.rotate(_random_sign(degrees))


def posterize(image, bits):
    return ImageOps.posterize(image, int(bits))


def solarize(image, threshold):
    return ImageOps.solarize(image, threshold)


def solarize_add(image, addition):
    brighter = np.clip(np.array(image).astype(int) + addition, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(brighter), 128)


def color(image, factor):
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image, factor):
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image, factor):
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image, factor):
    return ImageEnhance.Sharpness(image).enhance(factor)


def shear_x(image, slope):
    return _affine(image, 1, _random_sign(slope), 0, 0, 1, 0)


def shear_y(image, slope):
    return _affine(image, 1, 0, 0, _random_sign(slope), 1, 0)


def shift_x(image, pixels):
    return _affine(image, 1, 0, _random_sign(pixels), 0, 1, 0)


def shift_y(image, pixels):
    return _affine(image, 1, 0, 0, 0, 1, _random_sign(pixels))


def translate_x(image, share):
    return shift_x(image, share * image.size[0])


def translate_y(image, share):
    return shift_y(image, share * image.size[1])


def cutout(image, length):
    """A grey square of `length` pixels somewhere on the image."""
    width, height = image.size
    centre_x = np.random.uniform(width)
    centre_y = np.random.uniform(height)
    left = int(max(0, centre_x - length / 2))
    top = int(max(0, centre_y - length / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + length), min(height, top + length)), PATCH_COLOUR)
    return image


PLAIN = (
    (autocontrast, 0, 1),
    (equalize, 0, 1),
    (invert, 0, 1),
    (rotate, 0, 30),
    (posterize, 4, 8),
    (solarize, 0, 256),
    (solarize_add, 0, 110),
    (color, 0.1, 1.9),
    (contrast, 0.1, 1.9),
    (brightness, 0.1, 1.9),
    (sharpness, 0.1, 1.9),
    (shear_x, 0.0, 0.3),
    (shear_y, 0.0, 0.3),
    (cutout, 0, 40),
    (shift_x, 0.0, 100),
    (shift_y, 0.0, 100),
)
RANDOM_STRENGTH = (
    (autocontrast, 0, 1),
    (brightness, 0.1, 1.9),
    (color, 0.1, 1.9),
    (contrast, 0.1, 1.9),
    (equalize, 0, 1),
    (identity, 0, 1),
    (invert, 0, 1),
    (posterize, 4, 8),
    (rotate, -30, 30),
    (sharpness, 0.1, 1.9),
    (shear_x, -0.3, 0.3),
    (shear_y, -0.3, 0.3),
    (solarize, 0, 256),
    (translate_x, -0.3, 0.3),
    (translate_y, -0.3, 0.3),
)
FIXMATCH = (
    (autocontrast, 0, 1),
    (brightness, 0.05, 0.95),
    (color, 0.05, 0.95),
    (contrast, 0.05, 0.95),
    (equalize, 0, 1),
    (identity, 0, 1),
    (posterize, 4, 8),
    (rotate, -30, 30),
    (sharpness, 0.05, 0.95),
    (shear_x, -0.3, 0.3),
    (shear_y, -0.3, 0.3),
    (solarize, 0, 256),
    (translate_x, -0.3, 0.3),
    (translate_y, -0.3, 0.3),
)


class RandAugment:
    """`n` random operations of PLAIN, all at magnitude `m` of 0 to 30."""

    def __init__(self, n=2, m=10):
        self.n = n
        self.share = m / MAX_MAGNITUDE

    def __call__(self, image):
        for operation, low, high in random.choices(PLAIN, k=self.n):
            image = operation(image, self.share * (high - low) + low)
        return image


class RandAugment2:
    """`n` random operations of RANDOM_STRENGTH, each applied with probability `p` at a random strength."""

    def __init__(self, n=2, p=0.6):
        self.n = n
        self.p = p

    def __call__(self, image):
        for operation, low, high in random.choices(RANDOM_STRENGTH, k=self.n):
            if random.random() <= self.p:
                image = operation(image, random.random() * (high - low) + low)
        return image


class RandAugmentFixMatch:
    """`n` random operations of FIXMATCH (Sohn et al., 2020), each at a random strength."""

    def __init__(self, n=2):
        self.n = n

    def __call__(self, image):
        for operation, low, high in random.choices(FIXMATCH, k=self.n):
            image = operation(image, random.random() * (high - low) + low)
        return image
