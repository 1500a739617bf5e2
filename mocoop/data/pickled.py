"""CoOp's pickled few-shot subsets (`shot_<K>-seed_<S>.pkl`), read without trusting them, and written.

A pickle is a program. This reader knows one class, `Datum`, of Dassl or of any module in which a project keeps its own:
none is imported, an empty stand-in takes its place. A pickle that asks for anything else is refused before anything of
it is called.
"""

import os
import pickle
from collections.abc import Sequence
from typing import Any, NoReturn

from mocoop.data.item import Item, checked_label
from mocoop.data.manifest import Record
from mocoop.data.paths import check_path
from mocoop.errors import DataError, one_line, quoted, reason_of
from mocoop.files import check_plain_file

DATUM = ("dassl.data.datasets.base_dataset", "Datum")
LARGEST = 1 << 30  # bytes


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
