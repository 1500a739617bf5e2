"""Runs of two methods in pairs: tests of the same images, classes and seeds, or the reason why they are no pair."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BOTH, base_count
from mocoop.results.agreement import noted_differences, refuse
from mocoop.results.paired import Answers
from mocoop.results.predictions import answers_of
from mocoop.results.record import FILE_NAME, read_record

SIDES = {"train_base": "base", "test_new": "new"}


@dataclass(frozen=True)
class PairedTest:
    """What two methods answered to the same images. side: of which classes, base, new or all."""

    side: str
    answers: Answers


@dataclass(frozen=True)
class Tested:
    """What a run answered: images as (path, label), sorted, what was right (N,), and the run's record."""

    images: list[tuple[str, int]]
    right: np.ndarray
    record: dict

    @classmethod
    def read(cls, folder: str) -> "Tested":
        """The test of the run in a folder. Raises DataError if its files are damaged or do not belong together."""
        record = read_record(Path(folder) / FILE_NAME)
        frame = answers_of(folder, record).sort_values("path", kind="stable")
        right = (frame["label"] == frame["prediction"]).to_numpy()
        return cls(list(zip(frame["path"], frame["label"])), right, record)


def paired_runs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The runs that both have of a phase and seed, side by side, of the seeds that both have in all phases.

    a, b: runs (of `collect`, `identified`) of one method and number of shots on one dataset, with gaps. The columns of
    theirs end in _a and _b.
    """
    runs = a.dropna(subset="accuracy").merge(b.dropna(subset="accuracy"), on=["phase", "seed"], suffixes=("_a", "_b"))
    of_phases = runs.groupby("phase")["seed"].agg(set)
    return runs[runs["seed"].isin(set.intersection(*of_phases))] if len(runs) else runs


def check_pair(run) -> list[str]:
    """One line for each condition that two runs, a row of `paired_runs`, differ in and may.

    Raises DataError, naming the runs and what differs, where they are no pair (see `mocoop.results.agreement`).
    """
    if run.classnames_a != run.classnames_b:
        records = [read_record(Path(folder) / FILE_NAME) for folder in (run.folder_a, run.folder_b)]
        names = [[row["classname"] for row in record["per_class"]] for record in records]
        refuse(run, "class names", *_where_they_differ(*names))
    return noted_differences(run)


def paired_tests(runs: pd.DataFrame, read: Callable[[str], Tested]) -> list[PairedTest]:
    """The tests of `paired_runs` over their seeds. Raises DataError where they are of different images."""
    tests = []
    for phase, part in runs.groupby("phase", sort=False):
        pairs = []
        for run in part.sort_values("seed").itertuples():
            a, b = read(run.folder_a), read(run.folder_b)
            if a.images != b.images:
                refuse(run, "test images", *_where_they_differ(a.images, b.images))
            pairs.append((a, b))
        tests += _sides(phase, pairs)
    return tests


def _where_they_differ(one: list, other: list) -> tuple:
    """The first entries that differ; how many there are, where one list is longer."""
    first = next((pair for pair in zip(one, other) if pair[0] != pair[1]), None)
    return first or (len(one), len(other))


def _sides(phase: str, pairs: list[tuple[Tested, Tested]]) -> list[PairedTest]:
    """One test over the seeds, or two where it was of base and of new classes."""
    first, _ = pairs[0]
    if any(one.images != first.images for one, _ in pairs):
        raise DataError(f"got seeds of {phase} that were tested on different images, expected the same ones")
    a, b = (np.stack([one.right for one in of_method]) for of_method in zip(*pairs))
    if first.record["subsample_classes"] != BOTH:
        return [PairedTest(SIDES.get(phase, "all"), Answers(a, b))]
    base = np.array([label for _, label in first.images]) < base_count(first.record["num_classes"])
    return [PairedTest(side, Answers(a[:, at], b[:, at])) for side, at in (("base", base), ("new", ~base))]
