"""The words of Shapes: what an object can be, how a picture of it can look, and how that is said.

Index in the tuple is the code used by the renderer and by the held-out rule of `classes.py`; order therefore matters.
"""

import numpy as np

SHAPES = (
    "circle", "square", "triangle", "star", "cross", "heart",
    "ring", "hexagon", "diamond", "crescent", "arrow", "drop",
)  # fmt: skip

COLOUR_RGB = {
    "red": (0.84, 0.12, 0.12),
    "orange": (0.95, 0.52, 0.10),
    "yellow": (0.93, 0.84, 0.16),
    "pink": (0.95, 0.52, 0.72),
    "brown": (0.48, 0.28, 0.12),
    "green": (0.16, 0.60, 0.20),
    "cyan": (0.12, 0.76, 0.80),
    "blue": (0.14, 0.26, 0.84),
    "purple": (0.50, 0.16, 0.66),
    "gray": (0.46, 0.46, 0.48),
}
COLOURS = tuple(COLOUR_RGB)
WARM, COOL = COLOURS[:5], COLOURS[5:]

TEXTURES = ("plain", "striped", "dotted", "checkered")

TEMPLATES = {
    "photo": ("a photo of a {}.", "a good photo of the {}.", "a picture of a {}."),
    "blurry": ("a blurry photo of a {}.", "a blurry picture of the {}.", "an out of focus {}."),
    "sketch": ("a sketch of a {}.", "a pencil drawing of the {}.", "a {} drawn on paper."),
    "dark": ("a dark photo of a {}.", "a photo of the {} at night.", "a {} in the dark."),
    "pixelated": ("a pixelated photo of a {}.", "a low resolution picture of the {}.", "a blocky {}."),
    "small": ("a photo of a small {}.", "a picture of the tiny {}.", "a {} far away."),
    "cropped": ("a cropped photo of a {}.", "a close-up of the {}.", "a part of a {}."),
    "negative": ("a negative of a {}.", "an inverted photo of the {}.", "a {} in inverted colors."),
    "noisy": ("a noisy photo of a {}.", "a grainy picture of the {}.", "a {} with a lot of noise."),
    "faded": ("a faded photo of a {}.", "a washed out picture of the {}.", "a pale {}."),
    "painting": ("a painting of a {}.", "an oil painting of the {}.", "a {} painted on canvas."),
}
STYLES = tuple(TEMPLATES)

PALETTE = np.array(list(COLOUR_RGB.values()), np.float32)  # (10, 3)


def phrase(colour: int, texture: int, shape: int) -> str:
    """Name of a class, such as "red striped circle"."""
    return f"{COLOURS[colour]} {TEXTURES[texture]} {SHAPES[shape]}"
