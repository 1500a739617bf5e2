"""Reading a user's own images: class folders, or a csv that lists images with their labels."""

import csv
import io
import logging
import os
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from mocoop.data.paths import check_path, images_below, join_inside, list_folders, relative_to
from mocoop.errors import DataError, one_line, quoted, reason_of
from mocoop.files import read_text
from mocoop.names import name_problem

log = logging.getLogger(__name__)

SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
SPLIT_NAMES |= {name: name for name in ("train", "val", "test")}
NO_CLASS = ("split_fewshot", "downloads", "output")  # folders of the data root that hold no class


class Row(NamedTuple):
    """An image, by its path relative to the root, with the name of its label, its split and its domain ("" if none)."""

    path: str
    label: str
    split: str = ""
    domain: str = ""


def read_class_folders(root: str) -> list[Row]:
    """The images of `root/<class>/` or of `root/<train, val or test>/<class>/`, in sorted order; folders may be nested.

    A folder `train` without folders in it is a class. What is left out is named in a warning.
    Raises DataError when there are no class folders.
    """
    found = list_folders(root)
    folders = [name for name in found if name not in NO_CLASS]
    splits = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    if any(split == "train" and list_folders(f"{root}/{name}") for name, split in splits.items()):
        _name_skipped(root, [name for name in found if name not in splits])
        rows = [
            row
            for name, split in splits.items()
            for row in _classes(root, f"{name}/", list_folders(f"{root}/{name}"), split)
        ]
    else:
        _name_skipped(root, [name for name in found if name in NO_CLASS])
        rows = list(_classes(root, "", folders, ""))
    if not rows:
        raise DataError(f"{root}: got no folder with images, expected one for each class, or DATASET.FOLDER.CSV")
    return rows


def _name_skipped(root: str, folders: Iterable[str]) -> None:
    for folder in folders:
        if next(images_below(f"{root}/{folder}"), None):
            log.warning("left out, no class: the images in %s/%s", root, folder)


def _classes(root: str, prefix: str, folders: Iterable[str], split: str) -> Iterable[Row]:
    for folder in folders:
        label = _name(folder, f"{root}/{prefix}{folder}")
        for path in sorted(relative_to(root, str(path)) for path in images_below(f"{root}/{prefix}{folder}")):
            check_path(path, root)
            yield Row(path, label, split)


def read_image_csv(path: str, root: str) -> list[Row]:
    """The rows of a csv with the columns path and label, and optionally split and domain.

    Commas, semicolons or tabs separate columns. Raises DataError naming a line whose path leaves `root` or was there
    before, whose label is empty or whose split is unknown.
    """
    rows, line_of = [], {}
    for number, entry in read_table(path, ("path", "label")):
        where = f"{path}, line {number}"
        image, label, split, domain = (entry[key].strip() for key in ("path", "label", "split", "domain"))
        join_inside(root, image, where)
        first = line_of.setdefault(os.path.normpath(image), number)
        if first != number:
            raise DataError(
                f"{where}: got the image {one_line(image, 160)} again, after line {first}; expected it once"
            )
        if not label:
            raise DataError(f"{where}: got no label for {one_line(image, 160)}")
        if split and split.lower() not in SPLIT_NAMES:
            raise DataError(f"{where}: got the split {quoted(split)}, expected train, val or test")
        domain = domain and _name(domain, f"{where}, domain")
        rows.append(Row(image, _name(label, f"{where}, label"), SPLIT_NAMES.get(split.lower(), ""), domain))
    if not rows:
        raise DataError(f"{path}: lists no image")
    return rows


def read_table(path: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """(line number, values by column name in lower case, "" where a line has none) of a csv with these columns."""
    text = read_text(path, "csv", encoding="utf-8-sig")
    header = text.partition("\n")[0].strip()
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", restkey="", strict=True)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if not set(columns) <= set(names) or len(set(filter(None, names))) < len(list(filter(None, names))):
            raise DataError(
                f"{path}: its first line is {quoted(header)}, expected the columns {', '.join(columns)}, each once"
            )
        blank = {"split": "", "domain": ""}
        return [(reader.line_num, blank | {key: value for key, value in entry.items() if key}) for entry in reader]
    except csv.Error as error:
        raise DataError(f"{path}: not a readable csv ({reason_of(error)})") from error


def label_order(labels: Iterable[str]) -> list[str]:
    """Labels without repetition: numbers by value, others in the order of the alphabet."""
    distinct = sorted(set(labels))
    return sorted(distinct, key=int) if all(label.isdecimal() for label in distinct) else distinct


def read_class_names(path: str) -> dict[str, str]:
    """Class names by label, in label order, from a csv with the columns label and classname.

    Raises DataError for a label or a class name that stands there twice.
    """
    chosen = {}
    for number, entry in read_table(path, ("label", "classname")):
        where = f"{path}, line {number}"
        label, name = (_name(entry[key].strip(), f"{where}, {key}") for key in ("label", "classname"))
        for kind, value, known in (("label", label, chosen.keys()), ("class name", name, chosen.values())):
            if value in known:
                raise DataError(f"{where}: got the {kind} {quoted(value)} again, expected each once")
        chosen[label] = name
    return chosen


def _name(text: str, source: str) -> str:
    """A name in one form for all that look the same: file systems write accents in several ways."""
    if problem := name_problem(text):
        raise DataError(f"{source}: the name {quoted(text)} {problem}")
    return unicodedata.normalize("NFC", text)
