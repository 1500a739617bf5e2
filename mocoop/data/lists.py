"""Files that list images or classes: annotations with one entry a line or in MATLAB's .mat, split files, manifests.

The split file `split_zhou_<Dataset>.json` is CoOp's: {"train": [[path, label, class name], ...], "val": ..., "test":
...}, paths relative to the folder of images.

A manifest is the text form of a few-shot subset, one JSON object a line, to be read, compared, hashed and shared:

    {"split": "train", "path": "Abyssinian_100.jpg", "label": 0, "classname": "abyssinian"}

Its `path` is relative to the folder of images; `domain` follows where it is not 0. Its SHA-256 is that of the file, as
`sha256sum` gives it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mocoop.data.item import Item, Splits, checked_label
from mocoop.data.paths import join_inside, relative_to
from mocoop.errors import DataError, one_line, quoted, reason_of
from mocoop.files import atomic_write, check_plain_file, parse_json, read_json, read_text

T = TypeVar("T")
_quote = json.JSONEncoder(ensure_ascii=False).encode


def parse_lines(path: str | os.PathLike, parse: Callable[[str], T], expected: str) -> list[T]:
    """`parse` of each line that is not blank, stripped.

    Raises DataError that names file, line and what was `expected`, for a line that `parse` cannot take apart.
    """
    parsed = []
    for number, line in enumerate(map(str.strip, read_text(path).split("\n")), start=1):
        try:
            if line:
                parsed.append(parse(line))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: got {quoted(line)}, expected {expected}") from error
    return parsed


def read_mat_row(path: str | os.PathLike, variable: str) -> Any:
    """The first row of a variable of a .mat file, a numpy array; DataError when it cannot be read."""
    from scipy.io import loadmat

    try:
        check_plain_file(path)
        return loadmat(path)[variable][0]
    except Exception as error:  # the reader may fail in any way on a damaged file
        raise DataError(
            f"{path}: got no readable .mat file with {variable!r} ({reason_of(error)}); get it again"
        ) from error


def read_split(path: str | os.PathLike, image_dir: str) -> Splits:
    """Read a split file; each path becomes absolute under `image_dir`.

    Raises DataError when the file is no split, or names a path outside `image_dir`.
    """
    content = read_json(path, "split file", "get it again or delete it")
    if not isinstance(content, dict) or not {"train", "val", "test"} <= content.keys():
        raise DataError(f"{path}: no split file (an object with train, val and test); get it again or delete it")
    return Splits(*(_split_items(content[part], f"{path} ({part})", image_dir) for part in ("train", "val", "test")))


def _split_items(entries: object, source: str, image_dir: str) -> list[Item]:
    if not isinstance(entries, list):
        raise DataError(f"{source}: got a {type(entries).__name__}, expected a list of [path, label, class name]")
    items = []
    for entry in entries:
        try:
            relative, label, classname = entry
            items.append(Item(join_inside(image_dir, relative, source), checked_label(label), str(classname)))
        except (TypeError, ValueError) as error:
            raise DataError(f"{source}: got the entry {quoted(entry)}, expected [path, label, class name]") from error
    return items


def write_split(path: str | os.PathLike, splits: Splits, image_dir: str) -> None:
    """Write a split file, unless there is one by now: of several processes that start at once the first one wins.

    Raises DataError when the folder cannot be written: runs with different seeds would each make their own test set.
    """
    path = Path(path)
    content = {
        part: [(relative_to(image_dir, item.impath), item.label, item.classname) for item in items]
        for part, items in splits._asdict().items()
    }
    whole = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with atomic_write(whole) as file:
            json.dump(content, file, indent=4, separators=(",", ": "))
        _publish(whole, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}), and without it every seed would have its own "
            "test set; make the folder writable for one run"
        ) from error
    finally:
        whole.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        os.replace(temporary, path)


class Record(NamedTuple):
    """An image as some subset file names it; `classname` is None where the file's names are not to be relied on."""

    path: str
    label: int
    classname: str | None


def encode_manifest(train: Sequence[Item], val: Sequence[Item] | None, image_dir: str) -> str:
    """The manifest's text. `val` None leaves validation out."""
    return "".join(_manifest_lines("train", train, image_dir)) + "".join(_manifest_lines("val", val or (), image_dir))


def _manifest_lines(split: str, items: Sequence[Item], image_dir: str) -> Iterable[str]:
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
