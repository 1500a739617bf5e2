"""The words of Shapes, and which combinations of them are classes of which set.

Index in a tuple of words is the code used by the renderer and by the held-out rule; order therefore matters.

A third of the 480 combinations of colour, texture and shape is kept from pre-training: those whose three indices add up
to a multiple of three. It holds every colour with every texture, and every shape with a third of these pairs, so each
word is seen in pre-training while no held-out combination is. Warm or cool colours by first or second half of the
shapes make four quarters of 40 classes.
"""

from itertools import product

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


Combination = tuple[int, int, int]  # indices of colour, texture, shape

ALL_COMBINATIONS = tuple(product(range(len(COLOURS)), range(len(TEXTURES)), range(len(SHAPES))))


def is_held_out(combination: Combination) -> bool:
    """Whether pre-training never shows this combination."""
    return sum(combination) % 3 == 0


HELD_OUT = tuple(filter(is_held_out, ALL_COMBINATIONS))
PRETRAINING = tuple(c for c in ALL_COMBINATIONS if not is_held_out(c))


def _is_warm(combination: Combination) -> bool:
    return combination[0] < len(WARM)


def _in_first_shapes(combination: Combination) -> bool:
    return combination[2] < len(SHAPES) // 2


def _in_thinned_half(combination: Combination) -> bool:
    colour, _, shape = combination
    return (shape // 3 + colour) % 2 == 0


def class_list(split: str) -> list[Combination]:
    """The classes of a split in label order: of "color", "shape" and "both" 40 base classes, then 40 new ones.

    "conflict" has ten that share no colour and no shape; pre-training knows some of them.
    """
    if split == "conflict":
        return [(i, 0, i) for i in range(len(COLOURS))]  # colour i, plain, shape i
    if split == "both":
        base = [c for c in HELD_OUT if _is_warm(c) and _in_first_shapes(c)]
        return base + [c for c in HELD_OUT if not _is_warm(c) and not _in_first_shapes(c)]
    is_base = {"color": _is_warm, "shape": _in_first_shapes}[split]
    return sorted(filter(_in_thinned_half, HELD_OUT), key=lambda c: not is_base(c))


def classnames(split: str) -> list[str]:
    """Names of `class_list(split)`, in label order."""
    return [phrase(*combination) for combination in class_list(split)]
