"""Few-shot subsets in other projects' files: CoOp's pickle, and the two jsonl files of 2SFS (arXiv 2503.11609).

A pickle is a program. The reader of CoOp's (`shot_<K>-seed_<S>.pkl`) knows one class, `Datum`, of Dassl or of any
module in which a project keeps its own: none is imported, an empty stand-in takes its place. A pickle that asks for
anything else is refused before anything of it is called.
"""

import json
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mocoop.data.item import Item, checked_label
from mocoop.data.lists import Record, encode_manifest, parse_lines, read_manifest
from mocoop.data.paths import check_path, relative_to
from mocoop.errors import DataError, one_line, quoted, reason_of
from mocoop.files import check_plain_file, check_unused, parse_json, write_file

FORMATS = ("manifest", "coop", "2sfs")
DATUM = ("dassl.data.datasets.base_dataset", "Datum")
LARGEST = 1 << 30  # bytes


def shots_and_seed(path: Path) -> tuple[int, int] | None:
    """The shots and seed in a name such as shot_16-seed_1_train.jsonl; None when it has none."""
    found = re.search(r"shot_(\d+)-seed_(-?\d+)", path.name)
    return (int(found[1]), int(found[2])) if found else None


def read_subset(path: Path) -> dict[str, list[Record]]:
    """The records of a subset in any of the formats, recognised by the file's name and content.

    Of 2SFS's pair either file may be given; the other is read from beside it.
    """
    if path.suffix == ".pkl":
        return read_pickled_subset(path)
    pair = re.fullmatch(r"(.*)_(train|val)\.jsonl", path.name)
    if pair:
        return {split: _read_2sfs(path.with_name(f"{pair[1]}_{split}.jsonl")) for split in ("train", "val")}
    return read_manifest(path)


def _read_2sfs(path: Path) -> list[Record]:
    def record(line: str) -> Record:
        entry = parse_json(line)
        check_path(entry["_impath"], str(path))
        return Record(entry["_impath"], checked_label(entry["_label"]), None)

    return parse_lines(path, record, "an object with _impath and _label")


def write_subset(
    form: str, stem: Path, train: list[Item], val: list[Item] | None, image_dir: str, root: str
) -> list[Path]:
    """Write a subset as `stem` plus the suffixes of the format; returns the files. Raises ConfigError if one exists."""
    suffixes = {"manifest": (".jsonl",), "coop": (".pkl",), "2sfs": ("_train.jsonl", "_val.jsonl")}[form]
    paths = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    for path in paths:
        check_unused(path, advice="move it away or choose another --output")
    if form == "coop":
        write_file(paths[0], pickled_subset(train, val))
    elif form == "manifest":
        write_file(paths[0], encode_manifest(train, val, image_dir))
    else:
        for path, items in zip(paths, (train, val or []), strict=True):
            write_file(path, "".join(_2sfs_line(item, root) for item in items))
    return paths


def _2sfs_line(item: Item, root: str) -> str:
    entry = {"_impath": relative_to(root, item.impath), "_label": item.label, "_domain": item.domain}
    return json.dumps({**entry, "_classname": item.classname}) + "\n"


class _Datum:
    """Holds the attributes a pickled Datum comes with, and does nothing."""

    _impath: str
    _label: int
    _domain: int
    _classname: str


class _DatumUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Datum]:
        if name == DATUM[1]:
            return _Datum
        raise DataError(f"asks for {one_line(f'{module}.{name}', 80)}, and a subset needs nothing but Datum")

    def persistent_load(self, pid: object) -> NoReturn:
        raise DataError("asks for an object from outside the file")


def read_pickled_subset(path: str | os.PathLike) -> dict[str, list[Record]]:
    """The records of a pickled subset by split; "val" is empty where the file has none.

    Raises DataError, having run nothing, for a file that is no such subset or holds any other class.
    """
    try:
        content = _load(path)
        return {split: [_record(datum) for datum in content.get(split) or ()] for split in ("train", "val")}
    except DataError as error:
        raise DataError(f"{path}: refused, the pickle {error}; delete it or get it from its source") from None
    except Exception as error:  # a damaged pickle may fail in any way
        raise DataError(f"{path}: not a pickled few-shot subset of CoOp ({reason_of(error)}); delete it") from error


def _load(path: str | os.PathLike) -> Any:
    if check_plain_file(path, ValueError).st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    with open(path, "rb") as file:
        return _DatumUnpickler(file).load()


def _record(datum: object) -> Record:
    if type(datum) is not _Datum:
        raise TypeError(f"got an item of type {type(datum).__name__}, expected Datum")
    values = vars(datum)
    path, label = (values[f"_{key}"] if f"_{key}" in values else values[key] for key in ("impath", "label"))
    if type(path) is not str:
        raise TypeError(f"got a Datum with path {quoted(path)}, expected a text")
    check_path(path, "a Datum")
    return Record(path, checked_label(label), None)


def pickled_subset(train: Sequence[Item], val: Sequence[Item] | None) -> bytes:
    """The pickle that CoOp would load; Dassl need not be installed."""
    splits = {"train": train} if val is None else {"train": train, "val": val}
    content = pickle.dumps({split: [_datum(item) for item in items] for split, items in splits.items()}, protocol=2)
    return content.replace(_named(_Datum.__module__, "_Datum"), _named(*DATUM))


def _datum(item: Item) -> _Datum:
    datum = _Datum()
    datum._impath, datum._label, datum._domain, datum._classname = item.impath, item.label, item.domain, item.classname
    return datum


def _named(module: str, name: str) -> bytes:
    """How a pickle of protocol 2 names a class; the line breaks can be in no path and no class name."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
