"""Whose row is whose in what is learned or taught for some classes: decided by the names of the classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mocoop.methods.base import PromptMethod


def rows_among(trained: Sequence[str], classnames: Sequence[str]) -> Tensor:
    """The place (C,) of each class among the trained ones, -1 for one that is not among them."""
    place = {name: i for i, name in enumerate(_numbered(trained))}
    return torch.tensor([place.get(name, -1) for name in _numbered(classnames)])


def _numbered(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each name with its number among its like: two classes may have one name."""
    count: Counter[str] = Counter()
    for name in names:
        count[name] += 1
        yield name, count[name]


def taught_classes(method: "PromptMethod", choice: str) -> tuple[list[str], Tensor]:
    """The classes of a method's loss over texts, and the rows of the C trained classes among them.

    Args:
        choice: "train", or "all": those of the dataset. Trained on new classes, LASP and MoCoOp have no others.
    """
    own, everyone, trained_on = method.classnames, method.all_classnames, method.cfg.DATASET.get("SUBSAMPLE_CLASSES")
    taught = list(own)
    if choice == "all" and everyone is not None and trained_on != "new":
        taught = list(everyone) + [name for name in own if name not in set(everyone)]
    row = {name: i for i, name in reversed(list(enumerate(taught)))}
    return taught, torch.tensor([row[name] for name in own])
