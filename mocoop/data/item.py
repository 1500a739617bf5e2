"""One labelled image, the three lists of them that make a dataset, and the names of its classes."""

import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mocoop.errors import ConfigError, DataError, one_line, quoted
from mocoop.names import name_problem
from mocoop.protocol import BOTH, SUBSETS, base_count

LARGEST_LABEL = 2**31 - 1
_CODE = re.compile(r"(?:n\d{8}|\d+)(?:[._-]+(.*))?|[A-Za-z]{1,5}[_-]?\d+")


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


def class_names(items: Sequence[Item], source: str) -> list[str]:
    """Class names in label order.

    Raises DataError when one label has two names, or a label from 0 to the largest has no item: the columns of the
    logits would not be the labels. And when a name is none that can be shown and put into a prompt.
    """
    names: dict[int, str] = {}
    for item in items:
        known = names.setdefault(item.label, item.classname)
        if known != item.classname:
            raise DataError(
                f"{source}: label {item.label} is called {quoted(known)} and {quoted(item.classname)}, expected "
                "one name"
            )
    for label in range(max(names, default=-1) + 1):
        if label not in names:
            raise DataError(
                f"{source}: got no training image of label {label}, expected at least one of each label from "
                f"0 to {max(names)}"
            )
    if not names:
        raise DataError(f"{source}: got no training image")
    for label, name in sorted(names.items()):
        if problem := name_problem(name):
            raise DataError(f"{source}: the name of label {label}, {quoted(name)}, {problem}")
    return [names[label] for label in range(len(names))]


def same_texts(names: Sequence[str]) -> list[str]:
    """A line if there are classes whose names are one text to CLIP, which reads small letters and no underscores."""
    by_text = defaultdict(list)
    for name in names:
        by_text[" ".join(html.unescape(name.replace("_", " ")).lower().split())].append(name)
    if alike := [" and ".join(map(quoted, group)) for group in by_text.values() if len(group) > 1]:
        return [f"classes that are one text to CLIP, which cannot tell them apart: {one_line('; '.join(alike), 300)}"]
    return []


def code_like_names(names: Sequence[str]) -> list[str]:
    """A line if names look like codes: n02085620-Chihuahua, 001.Black_footed_Albatross, 10, c3."""
    found = [name for name in names if _CODE.fullmatch(name)]
    if not found:
        return []
    hint = next((f" such as {quoted(m[1])}" for name in found if (m := _CODE.fullmatch(name)) and m[1]), "")
    return [
        f"class names that look like codes ({len(found)} of {len(names)}), which CLIP reads as they stand: "
        f"{one_line(', '.join(map(quoted, found[:5])), 160)}; give them names{hint} by a csv with the columns label "
        "and classname (--classnames, DATASET.FOLDER.CLASSNAMES)"
    ]


def check_labels(splits: Splits, names: Sequence[str], source: str) -> None:
    """Raise DataError for a validation or test image of a class that is not among `names`, the trained ones."""
    for part in ("val", "test"):
        for item in getattr(splits, part) or ():
            if not 0 <= item.label < len(names):
                raise DataError(
                    f"{source}: got the {part} image {item.impath} of label {item.label}, expected labels that are "
                    f"trained on, 0 to {len(names) - 1}"
                )
            if item.classname != names[item.label]:
                raise DataError(
                    f"{source}: label {item.label} is called {quoted(names[item.label])} in train and "
                    f"{quoted(item.classname)} in {part}, expected one name"
                )


def subsample_classes(splits: Splits, subset: str) -> Splits:
    """Keep the base classes, the new ones, or all (also `base+new`); labels count from 0 again, domains are kept."""
    if subset not in SUBSETS:
        raise ConfigError(f"DATASET.SUBSAMPLE_CLASSES: got {subset!r}, expected one of {', '.join(SUBSETS)}")
    if subset in ("all", BOTH):
        return splits
    labels = sorted({item.label for item in splits.train})
    half = base_count(len(labels))
    kept = labels[:half] if subset == "base" else labels[half:]
    new_label = {label: index for index, label in enumerate(kept)}
    return splits.mapped(lambda items: [i._replace(label=new_label[i.label]) for i in items if i.label in new_label])
