"""What each Shapes set is made of, and the sets in which style and class interact.

Those show objects whose colour is one class's and whose shape is another's. No two of their classes, "red plain
circle", "orange plain square", ..., share a colour or a shape. Where the two of an object point to different classes,
the picture's style says which one counts. The same object is of one class in a photo and of another in a noisy picture,
so that no one prompt can be right for both.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mocoop.shapes.vocabulary import STYLES, Combination, class_list, classnames

COLOUR, SHAPE = 0, 2  # columns of an object (colour, texture, shape)
COUNTS = {"photo": COLOUR, "blurry": COLOUR, "pixelated": SHAPE, "noisy": SHAPE}
STRENGTHS = (0, 25, 50, 75, 100)  # percent of the pictures in which colour and shape disagree
DATA_VERSION = 1  # raised whenever the same seed would give other pictures, by the renderer or by the sets
STYLE_MIX = {
    "photo": 0.30, "blurry": 0.10, "sketch": 0.12, "dark": 0.10, "pixelated": 0.08,
    "small": 0.06, "cropped": 0.06, "negative": 0.08, "noisy": 0.10,
}  # fmt: skip


def shown_objects(
    classes: np.ndarray, labels: np.ndarray, styles: np.ndarray, strength: int, rng: np.random.Generator
) -> np.ndarray:
    """Objects (N, 3) for pictures of the classes `labels` (N,) in `styles` (N,), indices into STYLES.

    In `strength` percent of them, what does not count is that of another class, all of which are equally likely.
    """
    objects = classes[labels].copy()
    others = classes[(labels + rng.integers(1, len(classes), len(labels))) % len(classes)]
    misled = rng.random(len(labels)) < strength / 100
    for style, counts in COUNTS.items():
        rows = misled & (styles == STYLES.index(style))
        column = SHAPE if counts == COLOUR else COLOUR
        objects[rows, column] = others[rows, column]
    return objects


@dataclass(frozen=True)
class ShapesSet:
    """One set: its class list, its camera, its styles and how many pictures of each class a split has.

    conflict: percent of the pictures in which colour and shape disagree (`mocoop.shapes.sets`).
    """

    name: str
    split: str
    seed: int
    tint: str = "warm"
    styles: tuple[tuple[str, float], ...] = tuple(STYLE_MIX.items())
    train: int = 24
    val: int = 8
    test: int = 25
    conflict: int = 0

    @property
    def classes(self) -> list[Combination]:
        return class_list(self.split)

    @property
    def classnames(self) -> list[str]:
        return classnames(self.split)

    @property
    def folder(self) -> str:
        """Its folder under the data root: "ShapesBothCool" is in "shapes_both_cool"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def sizes(self) -> dict[str, int]:
        """Pictures per class of each split that is not empty."""
        return {name: n for name in ("train", "val", "test") if (n := getattr(self, name))}


def _variant(name: str, seed: int, **changes: Any) -> ShapesSet:
    return ShapesSet(name, "both", seed, train=0, val=0, test=12, **changes)


def _one_style(style: str, seed: int) -> ShapesSet:
    return _variant(f"ShapesBoth{style.capitalize()}", seed, styles=((style, 1.0),))


SOURCES = (
    ShapesSet("ShapesColor", "color", seed=1),
    ShapesSet("ShapesShape", "shape", seed=2),
    ShapesSet("ShapesBoth", "both", seed=3),
)
VARIANTS = (
    _variant("ShapesBothCool", 11, tint="cool"),
    *(_one_style(s, 12 + i) for i, s in enumerate(("sketch", "dark", "pixelated", "faded", "painting"))),
)
CONFLICTS = tuple(
    ShapesSet(f"ShapesConflict{n}", "conflict", 21 + i, styles=tuple((s, 0.25) for s in COUNTS), test=40, conflict=n)
    for i, n in enumerate(STRENGTHS)
)
SETS = {shapes_set.name: shapes_set for shapes_set in SOURCES + VARIANTS + CONFLICTS}
