"""The text manifest of a subset: one JSON object a line, so that a subset can be read, compared, hashed and shared.

    {"split": "train", "path": "Abyssinian_100.jpg", "label": 0, "classname": "abyssinian"}

`path` is relative to the dataset's folder of images; `domain` follows where it is not 0. The manifest's SHA-256 is that
of the file: `sha256sum` gives the same.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mocoop.data.item import Item, checked_label
from mocoop.data.paths import join_inside, relative_to
from mocoop.errors import DataError, one_line, quoted
from mocoop.files import parse_json, read_text

_quote = json.JSONEncoder(ensure_ascii=False).encode


class Record(NamedTuple):
    """An image as some subset file names it; `classname` is None where the file's names are not to be relied on."""

    path: str
    label: int
    classname: str | None


def encode_manifest(train: Sequence[Item], val: Sequence[Item] | None, image_dir: str) -> str:
    """The manifest's text. `val` None leaves validation out."""
    return "".join(_lines("train", train, image_dir)) + "".join(_lines("val", val or (), image_dir))


def _lines(split: str, items: Sequence[Item], image_dir: str) -> Iterable[str]:
    for item in items:
        path, classname = _quote(relative_to(image_dir, item.impath)), _quote(item.classname)
        domain = f', "domain": {item.domain}' if item.domain else ""
        yield f'{{"split": "{split}", "path": {path}, "label": {item.label}, "classname": {classname}{domain}}}\n'


def text_sha256(text: str) -> str:
    """SHA-256 of a manifest's text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_manifest(path: str | os.PathLike) -> dict[str, list[Record]]:
    """The records of a manifest by split, {"train": [...], "val": [...]}; raises DataError naming file and line."""
    records: dict[str, list[Record]] = {"train": [], "val": []}
    for number, line in enumerate(read_text(path, "manifest").removesuffix("\n").split("\n"), start=1):
        try:
            entry = parse_json(line)
            record = Record(entry["path"], checked_label(entry["label"]), str(entry["classname"]))
            records[entry["split"]].append(record)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: got {quoted(line)}, expected an object with split (train or val), "
                "path, label and classname"
            ) from error
        join_inside("the folder of images", record.path, f"{path}, line {number}")
    return records


def match_records(records: Sequence[Record], known: dict[str, Item], source: str) -> list[Item]:
    """The dataset's own items for the records of a subset file.

    Args:
        records: what the file names. A path may be relative to the folder of images, to the data root, or absolute on
            another machine: the longest tail of it that the dataset knows counts.
        known: the items a subset may take, by path relative to the folder of images.
        source: the file, for the error.

    Raises:
        DataError: an image is not among `known`, or has another label or class name there.
    """
    items = []
    for record in records:
        item = next((known[tail] for tail in tails(record.path) if tail in known), None)
        if item is None:
            raise DataError(
                f"{source}: {one_line(record.path, 160)} is not among the training and validation images of this "
                "split: its file is gone, or the subset was made from another split; move it away to draw a new one"
            )
        if item.label != record.label or record.classname not in (None, item.classname):
            raise DataError(
                f"{source}: {one_line(record.path, 160)} has label {record.label} ({quoted(record.classname)}), the "
                f"split says {item.label} ({quoted(item.classname)}): move the file away to draw a new subset"
            )
        items.append(item)
    return items


def tails(path: str) -> list[str]:
    """A path and what is left of it without its first folder, its first two folders and so on, longest first."""
    parts = path.replace("\\", "/").split("/")
    return [path, *("/".join(parts[start:]) for start in range(1, len(parts)))]
