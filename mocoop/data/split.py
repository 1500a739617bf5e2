"""The split file `split_zhou_<Dataset>.json`: which images are for training, validation and testing.

The format is CoOp's: {"train": [[path, label, class name], ...], "val": ..., "test": ...}, paths relative to the folder
of images.
"""

import json
import os
from pathlib import Path

from mocoop.data.item import Item, Splits, checked_label
from mocoop.data.paths import join_inside, relative_to
from mocoop.errors import DataError, quoted
from mocoop.files import atomic_write, read_json


def read_split(path: str | os.PathLike, image_dir: str) -> Splits:
    """Read a split file; each path becomes absolute under `image_dir`.

    Raises DataError when the file is no split, or names a path outside `image_dir`.
    """
    content = read_json(path, "split file", "get it again or delete it")
    if not isinstance(content, dict) or not {"train", "val", "test"} <= content.keys():
        raise DataError(f"{path}: no split file (an object with train, val and test); get it again or delete it")
    return Splits(*(_items(content[part], f"{path} ({part})", image_dir) for part in ("train", "val", "test")))


def _items(entries: object, source: str, image_dir: str) -> list[Item]:
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
