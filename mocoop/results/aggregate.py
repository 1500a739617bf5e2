"""Means and spreads over seeds, averages over datasets, and H.

Everything is computed from matrices with a row per (dataset, method, cfg, shots) and a column per seed. A run that is
missing is a NaN in its place, and whatever would need it is NaN as well: nothing is averaged over what happens to be
there. Standard deviations are those of a sample (divided by the number of seeds less one); `interval` makes 95 %
confidence intervals of them.
"""

from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import in_dataset_order
from mocoop.registry import listed
from mocoop.results.collect import SIDES

ENTRY = ["method", "cfg", "shots"]
AVERAGE = "average"
SOURCE_MARK = " (source)"


def harmonic_mean(base: Any, new: Any) -> Any:
    """H of two accuracies (floats or aligned frames); 0 where both are 0."""
    total = base + new
    return 2 * base * new / (total + (total == 0))


def seed_matrix(
    frame: pd.DataFrame,
    seeds: list[int] | None = None,
    column: str = "accuracy",
    like: pd.DataFrame | None = None,
    averaged: list[str] | None = None,
) -> pd.DataFrame:
    """`column` of the runs of one phase: rows (dataset, method, cfg, shots), columns `seeds` (default: those present).

    Every dataset has a row for every (method, cfg, shots), followed, where several are `averaged` (default: all of
    them), by the rows of their average. Datasets and entries are those of `like` (default: of `frame`).
    """
    like = frame if like is None else like
    seeds = sorted(like["seed"].unique()) if seeds is None else seeds
    datasets, entries = in_dataset_order(like["dataset"].unique()), _entries(like)
    matrix = frame.pivot(index=["dataset", *ENTRY], columns="seed", values=column)
    matrix = matrix.reindex(index=_grid(datasets, entries), columns=seeds).astype(float)
    averaged = datasets if averaged is None else averaged
    if len(averaged) < 2:
        return matrix
    rows = matrix[matrix.index.get_level_values("dataset").isin(averaged)]
    average = rows.groupby(level=ENTRY).apply(lambda rows: rows.mean(skipna=False)).reindex(entries)
    return pd.concat([matrix, pd.concat({AVERAGE: average}, names=["dataset"])])


def over_seeds(matrix: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of each row, the number of seeds, and the seeds it lacks.

    The deviation of one seed is NaN.
    """
    spread = {"mean": matrix.mean(axis=1, skipna=False), "std": matrix.std(axis=1, skipna=False)}
    return pd.DataFrame(spread).assign(seeds=len(matrix.columns), lacking=_lacking(matrix))


def interval(std: Any, seeds: Any) -> Any:
    """Half the width of the 95 % confidence interval of a mean over `seeds` runs with deviation `std` (Student's t)."""
    from scipy.special import stdtrit  # half a second to import

    seeds = np.maximum(seeds, 2)  # the deviation of one seed is NaN anyway
    return stdtrit(seeds - 1, 0.975) * std / np.sqrt(seeds)


def base_to_new(frame: pd.DataFrame, seeds: list[int] | None = None) -> pd.DataFrame:
    """Base, new and H of the runs of protocol base2new or base2new_all, with rows as in `seed_matrix`.

    H is the harmonic mean of the mean base and the mean new accuracy, as the papers compute it, also in the rows of
    the average; `h_std` is the deviation of the seeds' own H. `base_lacking` and `new_lacking` list missing seeds.
    Raises DataError if there is no such run.
    """
    base_runs, new_runs = side_matrices(frame, seeds)
    base, new = over_seeds(base_runs), over_seeds(new_runs)
    return pd.DataFrame(
        {
            "base": base["mean"],
            "base_std": base["std"],
            "new": new["mean"],
            "new_std": new["std"],
            "h": harmonic_mean(base["mean"], new["mean"]),
            "h_std": harmonic_mean(base_runs, new_runs).std(axis=1, skipna=False),
            "seeds": base["seeds"],
            "base_lacking": base["lacking"],
            "new_lacking": new["lacking"],
        }
    )


def side_matrices(frame: pd.DataFrame, seeds: list[int] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`seed_matrix` of base and of new accuracy: of the tests of both, where there are any, else of a test for each.

    Raises DataError if there is no such run.
    """
    together = frame[frame["phase"] == "test_all"]
    if len(together):
        like = frame[frame["dataset"].isin(together["dataset"])]  # with trainings of what cannot be tested so
        base, new = (seed_matrix(together, seeds, column, like) for column in SIDES)
        return base, new
    runs = frame[frame["phase"].isin(["train_base", "test_new"])]
    if runs.empty:
        raise DataError("got no run of train_base or test_new, nor of test_all, expected some of base2new")
    base, new = (seed_matrix(runs[runs["phase"] == phase], seeds, like=runs) for phase in ("train_base", "test_new"))
    return base, new


def transfer(frame: pd.DataFrame, seeds: list[int] | None = None) -> pd.DataFrame:
    """Accuracy where a method was trained and on other data sets, with rows as in `seed_matrix`.

    The runs of phase train come first, their data sets marked with SOURCE_MARK; the average, which is last, is that
    of the others.
    """
    sources = frame["phase"] == "train"
    runs = frame.assign(dataset=frame["dataset"].mask(sources, frame["dataset"] + SOURCE_MARK))
    matrix = seed_matrix(runs, seeds, averaged=list(runs.loc[~sources, "dataset"].unique()))
    is_source = matrix.index.get_level_values("dataset").isin(runs.loc[sources, "dataset"])
    return over_seeds(pd.concat([matrix[is_source], matrix[~is_source]]))


def join_cfgs(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Makes one entry of a method's configurations where each data set and number of shots has but one.

    For runs that are trained and tested on one data set: published schedules differ by data set and shots, and are
    one method nevertheless. The backbone has to be the same. Returns the frame with the joined names in column cfg,
    and one line for each method that was joined.
    """
    frame, notes = frame.copy(), []
    for method, runs in frame.groupby("method"):
        cfgs = sorted(runs["cfg"].unique())
        meet = runs.groupby(["dataset", "shots"])["cfg"].nunique().max() > 1
        if len(cfgs) < 2 or meet or runs["backbone"].nunique() > 1:
            continue
        frame.loc[runs.index, "cfg"] = "+".join(cfgs)
        notes.append(f"{method}: its configurations differ by data set or shots ({', '.join(cfgs)})")
    return frame, notes


def mixed_settings(frame: pd.DataFrame) -> list[str]:
    """One line for each group of seeds that were not run with the same configuration."""
    cells = frame.groupby(["protocol", "phase", "dataset", *ENTRY])["config_sha256"].nunique()
    return [
        f"{'/'.join(map(str, cell))}: its seeds were run with {count} different configurations"
        for cell, count in cells[cells > 1].items()
    ]


def _lacking(matrix: pd.DataFrame) -> list[list[int]]:
    return [[int(seed) for seed, gap in zip(matrix.columns, row) if gap] for row in matrix.isna().to_numpy()]


def _entries(frame: pd.DataFrame) -> pd.MultiIndex:
    """What is compared, in the order of the papers' tables."""
    entries = frame[ENTRY].drop_duplicates().itertuples(index=False, name=None)
    return pd.MultiIndex.from_tuples(sorted(entries, key=rank), names=ENTRY)


def rank(entry: tuple) -> tuple:
    """What sorts tuples that begin with a method's name: in the order of the papers' tables, other methods last."""
    method = entry[0]
    known = list(listed()).index(method) if method in listed() else len(listed())
    return known, *entry


def _grid(datasets: list[str], entries: pd.MultiIndex) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(
        [(dataset, *entry) for dataset in datasets for entry in entries], names=["dataset", *ENTRY]
    )
