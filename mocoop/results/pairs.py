"""Runs of two methods in pairs: tests of the same images, classes and seeds, or the reason why they are no pair."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BOTH, base_count
from mocoop.results.agreement import noted_differences, refuse
from mocoop.results.paired import Answers
from mocoop.results.predictions import FILE_NAME as PREDICTIONS
from mocoop.results.predictions import read_predictions
from mocoop.results.record import FILE_NAME, read_record

SIDES = {"train_base": "base", "test_new": "new"}


@dataclass(frozen=True)
class PairedTest:
    """What two methods answered to the same images. side: of which classes, base, new or all."""

    side: str
    answers: Answers


def paired_tests(a: pd.DataFrame, b: pd.DataFrame) -> tuple[list[PairedTest], list[str]]:
    """The tests that both made, over the seeds that both have in all of them, and a line for what else they differ in.

    a, b: runs (of `collect`) of one method and number of shots on one dataset, with gaps. Raises DataError, naming the
    runs and what differs, where two are no pair (see `mocoop.results.agreement`).
    """
    runs = a.dropna(subset="accuracy").merge(b.dropna(subset="accuracy"), on=["phase", "seed"], suffixes=("_a", "_b"))
    phases = dict(list(runs.groupby("phase", sort=False)))
    seeds = sorted(set.intersection(*(set(part["seed"]) for part in phases.values()))) if phases else []
    tests, notes = [], []
    for phase, part in phases.items():
        pairs = [_Pair.of(run) for run in part[part["seed"].isin(seeds)].sort_values("seed").itertuples()]
        notes += [note for pair in pairs for note in pair.notes]
        tests += _sides(phase, pairs) if pairs else []
    return tests, list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _Pair:
    """Two runs' answers: images as (path, label), what was right (N,), the record of the first, what else differs."""

    images: list[tuple[str, int]]
    a: np.ndarray
    b: np.ndarray
    record: dict
    notes: list[str]

    @classmethod
    def of(cls, run) -> "_Pair":
        records = [read_record(Path(folder) / FILE_NAME) for folder in (run.folder_a, run.folder_b)]
        names = [[row["classname"] for row in record["per_class"]] for record in records]
        if names[0] != names[1]:
            refuse(run, "class names", *_where_they_differ(*names))
        notes = noted_differences(run)
        answers = [read_predictions(Path(folder) / PREDICTIONS) for folder in (run.folder_a, run.folder_b)]
        answers = [frame.sort_values("path", kind="stable") for frame in answers]
        images = [list(zip(frame["path"], frame["label"])) for frame in answers]
        if images[0] != images[1]:
            refuse(run, "test images", *_where_they_differ(*images))
        right = [(frame["label"] == frame["prediction"]).to_numpy() for frame in answers]
        return cls(images[0], *right, records[0], notes)


def _where_they_differ(one: list, other: list) -> tuple:
    """The first entries that differ; how many there are, where one list is longer."""
    first = next((pair for pair in zip(one, other) if pair[0] != pair[1]), None)
    return first or (len(one), len(other))


def _sides(phase: str, pairs: list[_Pair]) -> list[PairedTest]:
    """One test over the seeds, or two where it was of base and of new classes."""
    if any(pair.images != pairs[0].images for pair in pairs):
        raise DataError(f"got seeds of {phase} that were tested on different images, expected the same ones")
    a, b = np.stack([pair.a for pair in pairs]), np.stack([pair.b for pair in pairs])
    if pairs[0].record["subsample_classes"] != BOTH:
        return [PairedTest(SIDES.get(phase, "all"), Answers(a, b))]
    base = np.array([label for _, label in pairs[0].images]) < base_count(pairs[0].record["num_classes"])
    return [PairedTest(side, Answers(a[:, at], b[:, at])) for side, at in (("base", base), ("new", ~base))]
