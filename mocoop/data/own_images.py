"""Reading a user's own images: class folders, or a csv that lists images with their labels."""

import csv
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mocoop.data.paths import IMAGE_SUFFIXES, join_inside, list_folders
from mocoop.errors import DataError

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

    Raises DataError when there are no class folders.
    """
    folders = [name for name in list_folders(root) if name not in NO_CLASS]
    splits = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    if "train" in splits.values():
        rows = [
            row
            for name, split in splits.items()
            for row in _classes(root, f"{name}/", list_folders(f"{root}/{name}"), split)
        ]
    else:
        rows = list(_classes(root, "", folders, ""))
    if not rows:
        raise DataError(
            f"{root}: got no folder with images, expected one for each class, or a csv named by DATASET.FOLDER.CSV"
        )
    return rows


def _classes(root: str, prefix: str, folders: Iterable[str], split: str) -> Iterable[Row]:
    for folder in folders:
        for path in _images_below(f"{root}/{prefix}{folder}"):
            yield Row(f"{prefix}{folder}/{path}", _text(folder), split)


def _images_below(folder: str) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = "" if place == folder else os.path.relpath(place, folder) + "/"
        found += [inside + name for name in files if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted(found)


def read_image_csv(path: str, root: str) -> list[Row]:
    """The rows of a csv with the columns path and label, and optionally split and domain.

    Commas, semicolons or tabs separate columns. Raises DataError naming a line whose path leaves `root`, whose label
    is empty or whose split is unknown.
    """
    rows = []
    for number, entry in read_table(path, ("path", "label")):
        image, label, split = (entry[key].strip() for key in ("path", "label", "split"))
        join_inside(root, image, f"{path}, line {number}")
        if not label:
            raise DataError(f"{path}, line {number}: got no label for {image}")
        if split and split.lower() not in SPLIT_NAMES:
            raise DataError(f"{path}, line {number}: got the split {split!r}, expected train, val or test")
        rows.append(Row(image, _text(label), SPLIT_NAMES.get(split.lower(), ""), _text(entry["domain"].strip())))
    if not rows:
        raise DataError(f"{path}: lists no image")
    return rows


def read_table(path: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """(line number, values by column name in lower case, "" where a line has none) of a csv with these columns."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable csv ({error})") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, restval="", restkey="_more")
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if not set(columns) <= set(reader.fieldnames):
        raise DataError(f"{path}: its first line is {header.strip()!r}, expected the columns {', '.join(columns)}")
    blank = {"split": "", "domain": ""}
    return [(reader.line_num, blank | {key: value for key, value in entry.items() if key}) for entry in reader]


def label_order(labels: Iterable[str]) -> list[str]:
    """Labels without repetition: numbers by value, others in the order of the alphabet."""
    distinct = set(labels)
    return sorted(distinct, key=int) if all(label.isdecimal() for label in distinct) else sorted(distinct)


def read_class_names(path: str) -> dict[str, str]:
    """Class names by label, in label order, from a csv with the columns label and classname."""
    table = read_table(path, ("label", "classname"))
    return {_text(entry["label"].strip()): _text(entry["classname"].strip()) for _, entry in table}


def _text(text: str) -> str:
    """One form for names that look the same: file systems write accents in several ways."""
    return unicodedata.normalize("NFC", text)
