"""Which combinations of colour, texture and shape are classes of which set, and which are kept from pre-training.

A third of the 480 combinations is held out: those whose three indices add up to a multiple of three. It holds every
colour with every texture, and every shape with a third of these pairs, so each word is seen in pre-training while no
held-out combination is. Warm or cool colours by first or second half of the shapes make four quarters of 40 classes.
"""

from itertools import product

from mocoop.shapes.vocabulary import COLOURS, SHAPES, TEXTURES, WARM, phrase

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
