"""An output tree as one table of runs.

Runs lie in folders of LAYOUT, below any folder. What is not a finished run, or contradicts the folder it lies in, is
named in `problems` and left out.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.results.record import FILE_NAME, read_record

LAYOUT = "<protocol>/<phase>/<dataset>/shots_<n>/<Trainer>/<cfg>/seed<k>"
IDENTITY = ["protocol", "phase", "dataset", "shots", "method", "cfg", "seed"]
METRICS = ["accuracy", "macro_f1", "top5", "per_class_mean", "ece"]
_FROM_RECORD = ["subsample_classes", "backbone", "epoch", "selection", "num_classes", "num_test", "engine"]
_HASHES = ["manifest_sha256", "config_sha256"]
_DERIVED = ["train_seconds", "test_seconds", "domain_in_top_k", "routing", "folder"]
COLUMNS = IDENTITY + METRICS + _FROM_RECORD + ["peak_memory_mb"] + _HASHES + _DERIVED

_RUN_FOLDER = re.compile(
    r"(?P<protocol>[^/]+)/(?P<phase>[^/]+)/(?P<dataset>[^/]+)/shots_(?P<shots>-?\d+)"
    r"/(?P<method>[^/]+)/(?P<cfg>[^/]+)/seed(?P<seed>\d+)"
)
_SEED_FOLDER = re.compile(r"seed\d+")
_CLASSES_OF_PHASE = {"train_base": "base", "test_new": "new", "train_all": "all"}


@dataclass(frozen=True)
class Collection:
    """The finished runs, one row each with COLUMNS, and one line for everything that could not be used."""

    frame: pd.DataFrame
    problems: list[str]


def collect(root) -> Collection:
    """Reads every run below `root`.

    A run outside LAYOUT keeps an empty protocol, phase and cfg. `routing` is the record's dict or None.
    Raises DataError if `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with results; run an experiment first")
    rows, problems = [], []
    for folder in _run_folders(root):
        try:
            rows.append(_row(folder))
        except DataError as error:
            problems.append(str(error))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    repeated = (frame["protocol"] != "") & frame.duplicated(IDENTITY, keep=False)
    problems += [
        f"{folder}: the same run lies in another folder too; neither counts" for folder in frame.folder[repeated]
    ]
    return Collection(frame[~repeated].reset_index(drop=True), problems)


def _run_folders(root: Path):
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if FILE_NAME in files or _SEED_FOLDER.fullmatch(Path(folder).name):
            subfolders.clear()
            yield Path(folder)


def _row(folder: Path) -> dict:
    if not (folder / FILE_NAME).exists():
        raise DataError(f"{folder}: no {FILE_NAME}, the run did not finish")
    record = read_record(folder / FILE_NAME)
    if record["status"] != "done":
        reason = f" ({record['error']})" if record.get("error") else ""
        raise DataError(f"{folder}: the run is {record['status']}{reason}")
    place = _place(folder, record)
    routing = record["routing"]
    return {
        **place,
        **{name: record["metrics"].get(name) for name in METRICS},
        **{name: record[name] for name in [*_FROM_RECORD, "peak_memory_mb", *_HASHES]},
        "train_seconds": record["seconds"].get("train"),
        "test_seconds": record["seconds"].get("test"),
        "domain_in_top_k": routing and routing["domain_in_top_k"],
        "routing": routing,
        "folder": str(folder),
    }


def _place(folder: Path, record: dict) -> dict:
    """The run's identity: from its folder, which the record must not contradict, or from the record alone."""
    stated = {"method": record["method"], "shots": record["shots"], "seed": record["seed"]}
    match = _RUN_FOLDER.fullmatch("/".join(folder.absolute().parts[-7:]))
    if match is None:
        return {"protocol": "", "phase": "", "dataset": record["dataset"], "cfg": "", **stated}
    place = match.groupdict()
    place |= {"shots": int(place["shots"]), "seed": int(place["seed"])}
    stated["subsample_classes"] = record["subsample_classes"]
    expected = place | {"subsample_classes": _CLASSES_OF_PHASE.get(place["phase"], record["subsample_classes"])}
    for field, value in stated.items():
        if value != expected[field]:
            raise DataError(f"{folder}: {FILE_NAME} says {field} {value}, its folder says {expected[field]}")
    return place
