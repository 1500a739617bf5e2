"""Which runs are compared: how they are named, and which are pairs, tests of the same images, classes and seeds.

What is compared is named as tables call it, a method with its configuration where it has several, or as a folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BOTH, base_count
from mocoop.results.agreement import noted_differences, refuse
from mocoop.results.by_protocol import join, runs_of, without_other_models
from mocoop.results.collect import IDENTITY, collect, place_strays
from mocoop.results.paired import Answers
from mocoop.results.predictions import answers_of
from mocoop.results.record import FILE_NAME, read_record

SIDES = {"train_base": "base", "test_new": "new"}


def named_runs(name: str, output: pd.DataFrame | None, protocol: str) -> tuple[str, pd.DataFrame]:
    """The runs of one method and configuration in a protocol, and what to call it.

    name: a folder of runs, or what has runs in `output` (of `collect`): a method, or METHOD/CONFIGURATION. Of several
    configurations of a method the one with the most datasets is taken. Raises DataError.
    """
    if folder := Path(name).is_dir():
        output = _as_one(collect(name).with_gaps())
    runs, _ = join(without_other_models(runs_of(output, protocol), protocol)[0], protocol)
    return runs_named(name, runs, protocol, folder)


def runs_named(name: str, runs: pd.DataFrame, protocol: str, folder: bool) -> tuple[str, pd.DataFrame]:
    whole, short = runs["method"] + "/" + runs["cfg"], runs["method"]
    if not folder:
        runs = runs[(whole == name) if (whole == name).any() else short == name]
    covered = runs.groupby(["method", "cfg"])["dataset"].nunique().sort_values(ascending=False)
    if runs["accuracy"].isna().all():
        found = f"none of {', '.join(sorted(set(whole)))}" if len(whole) and not folder else "no finished run"
        raise DataError(f"{name}: {found} in protocol {protocol}; expected a method with runs, or a folder of them")
    if len(covered) > 1 and (folder or covered.iloc[0] == covered.iloc[1]):
        raise DataError(f"{name} may be {', '.join(map('/'.join, sorted(covered.index)))}; name one of them")
    method, cfg = covered.index[0]
    return method, runs[(runs["method"] == method) & (runs["cfg"] == cfg)]


def _as_one(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs in folders of one's own get the protocol and phase of the classes that they were tested on, and no cfg.

    Who names a folder means that it holds one configuration.
    """
    own = set(frame.loc[frame["protocol"] == "", "folder"])
    frame, _ = place_strays(frame)
    frame["cfg"] = frame["cfg"].mask(frame["folder"].isin(own), "")
    twice = frame[frame.duplicated(IDENTITY, keep=False)]
    if len(twice):
        raise DataError(f"{' and '.join(twice['folder'][:2])} are runs of one seed, expected one of each")
    return frame


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


def check_pair(run: Any) -> list[str]:
    """One line for each condition that two runs, a row of `paired_runs`, differ in and may.

    Raises DataError, naming the runs and what differs, where they are no pair (see `mocoop.results.agreement`).
    """
    if run.classnames_a != run.classnames_b:
        records = [read_record(Path(folder) / FILE_NAME) for folder in (run.folder_a, run.folder_b)]
        names_a, names_b = ([row["classname"] for row in record["per_class"]] for record in records)
        refuse(run, "class names", *_where_they_differ(names_a, names_b))
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


def _where_they_differ(one: list, other: list) -> tuple[object, object]:
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
