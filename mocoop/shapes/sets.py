"""What each Shapes set is made of."""

import re
from dataclasses import dataclass
from typing import Any

from mocoop.shapes.classes import Combination, class_list, classnames
from mocoop.shapes.conflict import COUNTS, STRENGTHS

DATA_VERSION = 1  # raised whenever the same seed would give other pictures, by the renderer or by the sets
STYLE_MIX = {
    "photo": 0.30, "blurry": 0.10, "sketch": 0.12, "dark": 0.10, "pixelated": 0.08,
    "small": 0.06, "cropped": 0.06, "negative": 0.08, "noisy": 0.10,
}  # fmt: skip


@dataclass(frozen=True)
class ShapesSet:
    """One set: its class list, its camera, its styles and how many pictures of each class a split has.

    conflict: percent of the pictures in which colour and shape disagree (`mocoop.shapes.conflict`).
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
