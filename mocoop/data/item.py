"""One labelled image, and the three lists of them that make a dataset."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

LARGEST_LABEL = 2**31 - 1


class Item(NamedTuple):
    """An image with its label, under the attribute names of Dassl's `Datum`.

    A plain tuple, so that a million of them are cheap and making one touches no file. `domain` is an index into the
    dataset's list of domain names (0 where there is one domain only).
    """

    impath: str
    label: int
    classname: str
    domain: int = 0

    @classmethod
    def of(cls, datum: Any) -> "Item":
        """An Item of anything that has a Datum's attributes."""
        return cls(datum.impath, datum.label, datum.classname, datum.domain)


def by_label(items: Iterable[Item]) -> list[list[Item]]:
    """The items of each label, labels in order of appearance."""
    groups = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    return list(groups.values())


class Splits(NamedTuple):
    """Training, validation and test items. `val` is None where the test split also validates."""

    train: list[Item]
    val: list[Item] | None
    test: list[Item]

    def mapped(self, change: Callable[[list[Item]], list[Item]]) -> "Splits":
        """The same with each list changed that is there and not empty."""
        train, val, test = (items and change(items) for items in self)
        return Splits(train or [], val, test or [])


def checked_label(value: object) -> int:
    """`value` where it is a label, a whole number from 0. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= LARGEST_LABEL:
        raise ValueError(f"got the label {value!r:.40}, expected a whole number from 0")
    return value
