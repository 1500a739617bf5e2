"""Linear heads over the trained classes: which row of one is whose is decided by the names of the classes."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from yacs.config import CfgNode

from mocoop.errors import ConfigError
from mocoop.methods.keys import Key

HEAD_CLASSES = Key(
    "HEAD_CLASSES", (), "names of the classes that the head was trained for; empty: the dataset's", structural=True
)


def head_rows(settings: CfgNode, classnames: Sequence[str]) -> tuple[list[str], Tensor]:
    """The names of a head's classes, and the row (C,) of each class in it, -1 for one that it does not know."""
    names = list(settings.HEAD_CLASSES) or list(classnames)
    return names, rows_among(names, classnames)


def rows_among(trained: Sequence[str], classnames: Sequence[str]) -> Tensor:
    """The row (C,) of each class among the trained ones, -1 for one that is not."""
    row = {name: i for i, name in enumerate(_told_apart(trained))}
    return torch.tensor([row.get(name, -1) for name in _told_apart(classnames)])


def _told_apart(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each name with its number among its like: two classes may have one name."""
    count = Counter()
    for name in names:
        count[name] += 1
        yield name, count[name]


def check_trainable(settings: CfgNode, classnames: Sequence[str]) -> None:
    """Raises ConfigError for a head, if the method has one, over other classes than those that it is to learn."""
    names = settings.get("HEAD_CLASSES", ())
    if names and list(names) != list(classnames):
        raise ConfigError("HEAD_CLASSES names other classes than the dataset's, expected none for training")
