"""A csv that lists a user's images with their labels, and one that names their classes."""

import csv
import io
import os
import re
from collections.abc import Iterable

from mocoop.data.layout import SPLIT_NAMES, Row, clean_name
from mocoop.data.paths import join_inside
from mocoop.errors import ConfigError, DataError, one_line, quoted, reason_of
from mocoop.files import read_text

COLUMNS = {"image": "path", "label": "label", "split": "split", "domain": "domain"}  # what a csv calls them


def read_image_csv(path: str, root: str, columns: str = "") -> list[Row]:
    """The rows of a csv with the columns path and label, and optionally split and domain.

    Args:
        columns: other names of columns, as in "image=filename,label=breed".

    Commas, semicolons or tabs separate columns. Raises DataError naming a line whose path leaves `root` or was there
    before, whose label is empty or whose split is unknown, ConfigError for `columns` that cannot be meant.
    """
    named = COLUMNS | _chosen(columns)
    rows: list[Row] = []
    line_of: dict[str, int] = {}
    for number, entry in read_table(path, named, ("image", "label")):
        where = f"{path}, line {number}"
        label, split, domain = entry["label"], entry["split"], entry["domain"]
        image = _below(root, entry["image"], where)
        first = line_of.setdefault(os.path.normpath(image), number)
        if first != number:
            raise DataError(
                f"{where}: got the image {one_line(image, 160)} again, after line {first}; expected it once"
            )
        if not label:
            raise DataError(f"{where}: got no label for {one_line(image, 160)}")
        if split and split.lower() not in SPLIT_NAMES:
            raise DataError(f"{where}: got the split {quoted(split)}, expected train, val or test")
        domain = domain and clean_name(domain, f"{where}, domain")
        rows.append(Row(image, clean_name(label, f"{where}, label"), SPLIT_NAMES.get(split.lower(), ""), domain))
    if not rows:
        raise DataError(f"{path}: lists no image")
    return rows


def _chosen(columns: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    chosen = {key.strip().lower(): name.strip() for key, _, name in pairs}
    if not set(chosen) <= set(COLUMNS) or not all(chosen.values()):
        raise ConfigError(
            f"DATASET.FOLDER.CSV_COLUMNS is {quoted(columns)}, expected names for {', '.join(COLUMNS)}, as in "
            '"image=filename,label=breed"'
        )
    return chosen


def _below(root: str, image: str, where: str) -> str:
    """A path as it stands in a csv, relative to the root: absolute ones below it and Windows' separators are taken."""
    if "\\" in image and not os.path.lexists(f"{root}/{image}"):
        image = image.replace("\\", "/")
    for base in (root, os.path.realpath(root)):
        if image.startswith(f"{base.rstrip('/')}/"):
            image = image[len(base.rstrip("/")) :].lstrip("/")
    join_inside(root, image, where)
    return image


def read_table(path: str, named: dict[str, str], needed: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """(line number, stripped values by the keys of `named`, "" where there is none) of a csv, empty rows left out.

    `named` are the columns' names, in any case; `needed` the keys of those that have to be there. A first line such as
    "sep=;", which spreadsheets write, names the separator.
    """
    text = read_text(path, "csv")
    told = re.match(r"\s*sep=([,;|\t])\s*?\n", text, re.IGNORECASE)
    text = text[told.end() :] if told else text
    header = text.partition("\n")[0].strip()
    delimiter = told[1] if told else max(",;\t", key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [name.strip().lower() for name in next(reader, [])]
        place = {key: names.index(name.lower()) for key, name in named.items() if name.lower() in names}
        if not set(needed) <= set(place) or any(names.count(named[key].lower()) > 1 for key in place):
            expected = ", ".join(named[key] for key in needed)
            advice = "; other names can be given: --csv-columns image=NAME,label=NAME" if "image" in named else ""
            raise DataError(
                f"{path}: its first line is {quoted(header)}, expected the columns {expected}, each once{advice}"
            )
        rows = [(reader.line_num + bool(told), row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}: not a readable csv ({reason_of(error)})") from error
    missing = dict.fromkeys(named, "")
    return [
        (number, missing | {key: row[i].strip() for key, i in place.items() if i < len(row)}) for number, row in rows
    ]


def label_order(labels: Iterable[str]) -> list[str]:
    """Labels without repetition: numbers by value, others in the order of the alphabet."""
    distinct = sorted(set(labels))
    return sorted(distinct, key=int) if all(label.isdecimal() for label in distinct) else distinct


def read_class_names(path: str) -> dict[str, str]:
    """Class names by label, in label order, from a csv with the columns label and classname.

    Raises DataError for a label or a class name that stands there twice.
    """
    chosen: dict[str, str] = {}
    named = {"label": "label", "classname": "classname"}
    for number, entry in read_table(path, named, named):
        where = f"{path}, line {number}"
        label, name = (clean_name(entry[key], f"{where}, {key}") for key in ("label", "classname"))
        for kind, value, known in (("label", label, chosen.keys()), ("class name", name, chosen.values())):
            if value in known:
                raise DataError(f"{where}: got the {kind} {quoted(value)} again, expected each once")
        chosen[label] = name
    return chosen
