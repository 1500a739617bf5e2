"""What is computed of runs: means and spreads over seeds, H, and differences of two methods with their uncertainty.

Means are computed from matrices with a row per (dataset, method, cfg, shots) and a column per seed. A run that is
missing is a NaN in its place, and whatever would need it is NaN as well: nothing is averaged over what happens to be
there. Standard deviations are those of a sample (divided by the number of seeds less one); `interval` makes 95 %
confidence intervals of them.

Two methods that answered the same images with the same seeds are compared by `difference`. A method's accuracy depends
on chance twice: on the seed that it was trained with, and on the images that it happens to be tested on. Seeds and
images are crossed, each image being seen with every seed, so the variance of a mean difference has three parts: of
images V_I, of seeds, and of what neither explains, R. They are taken from the sums of squares of a two-way analysis of
variance, in which V_S, of the means of S seeds, holds R too, and has no more than S - 1 degrees of freedom. With so
few, an interval of fixed level and a test that never raises too many alarms are two things:

- The 95 % interval is Student's t with (S - 1) (V / V_S)^(3/4) degrees of freedom, V being the whole variance. The
  power was chosen by simulation: with 1 intervals of three seeds hold the truth too seldom, with 1/2 too often.
- The p-value is the level at which the difference leaves sqrt(z^2 V_I + max(z^2 R, t^2 V_S)), z and t being quantiles
  of the normal and of Student's distribution. That bound holds at every level, which adjusting for many datasets needs.

Parts of models that were trained by themselves are added up first. A maximum taken of each would make the interval of
an average too wide.

The usual hierarchical bootstrap, percentiles over resampled seeds and images, finds two thirds of the variance of three
seeds. benchmarks/comparisons.py measures all of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS, in_dataset_order
from mocoop.registry import listed
from mocoop.results.runs import AREA, ENTRY, SIDES

AVERAGE = "average"
SOURCE_MARK = " (source)"
BASE_NEW_COLUMNS = {"base": "Base", "new": "New", "h": "H"}


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
    datasets = in_dataset_order(like["dataset"].unique())
    entries = sorted(like[ENTRY].drop_duplicates().itertuples(index=False, name=None), key=rank)  # as in the papers
    places = [(dataset, *entry) for dataset in datasets for entry in entries]
    matrix = frame.pivot(index=["dataset", *ENTRY], columns="seed", values=column)
    grid = pd.MultiIndex.from_tuples(places, names=["dataset", *ENTRY])
    return _averaged(matrix.reindex(index=grid, columns=seeds).astype(float), averaged)


def _averaged(matrix: pd.DataFrame, datasets: list[str] | None = None) -> pd.DataFrame:
    """A matrix with the rows of the average over several data sets (default: all) at its end."""
    of = matrix.index.get_level_values("dataset")
    datasets = list(of.unique()) if datasets is None else datasets
    if len(datasets) < 2:
        return matrix
    average = matrix[of.isin(datasets)].groupby(level=ENTRY, sort=False).apply(lambda rows: rows.mean(skipna=False))
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
    the average; `h_std` is the deviation of the seeds' own H. `mean_h` is the mean of H: over the seeds, and in the
    average over the data sets too. `base_lacking` and `new_lacking` list missing seeds. `area` is that of tests of both
    sides at once (`mocoop.results.calibration`), else NaN. Raises DataError if there is no such run.
    """
    base, new = side_matrices(frame, seeds)
    runs, together = {"base": base, "new": new, "h": harmonic_mean(base, new)}, frame[frame["phase"] == "test_all"]
    runs["mean_h"] = _averaged(runs["h"].drop(AVERAGE, level="dataset", errors="ignore"))
    runs["area"] = seed_matrix(together, seeds, AREA).reindex_like(base) if len(together) else base * np.nan
    summary = pd.DataFrame(index=base.index)
    for name, matrix in runs.items():
        summary[name] = matrix.mean(axis=1, skipna=False)
        summary[std_of(name)] = matrix.std(axis=1, skipna=False)
    summary["h"] = harmonic_mean(summary["base"], summary["new"])
    return summary.assign(seeds=len(base.columns), base_lacking=_lacking(base), new_lacking=_lacking(new))


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


def measured(protocol: str) -> dict[str, str]:
    """What `summarise` holds of a protocol: {column: name}; the deviation of `mean` is in `std`, of others in *_std."""
    return BASE_NEW_COLUMNS if PROTOCOLS[protocol].measure == BASE_NEW else {"mean": "Accuracy"}


def std_of(column: str) -> str:
    """The column of a summary with the deviation of another."""
    return "std" if column == "mean" else f"{column}_std"


def summarise(runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None) -> pd.DataFrame:
    """Mean and deviation over seeds of what the protocol measures, with rows as in `seed_matrix`."""
    measure = PROTOCOLS[protocol].measure
    if measure == CURVE:
        return over_seeds(seed_matrix(runs, seeds))
    return base_to_new(runs, seeds) if measure == BASE_NEW else transfer(runs, seeds)


def mixed_settings(frame: pd.DataFrame) -> list[str]:
    """One line for each group of seeds that were not run with the same configuration."""
    cells = frame.groupby(["protocol", "phase", "dataset", *ENTRY])["config_sha256"].nunique()
    return [
        f"{'/'.join(map(str, cell))}: its seeds were run with {count} different configurations"
        for cell, count in cells[cells > 1].items()
    ]


def _lacking(matrix: pd.DataFrame) -> list[list[int]]:
    return [[int(seed) for seed, gap in zip(matrix.columns, row) if gap] for row in matrix.isna().to_numpy()]


def rank(entry: tuple) -> tuple:
    """What sorts tuples that begin with a method's name: in the order of the papers' tables, other methods last."""
    method = entry[0]
    known = list(listed()).index(method) if method in listed() else len(listed())
    return known, *entry


LEVEL = 0.05
SMALLEST_P = 1e-12


@dataclass(frozen=True)
class Answers:
    """What was right in one test: a, b: (S, N) bool, of S seeds and N images."""

    a: np.ndarray
    b: np.ndarray

    @property
    def accuracies(self) -> tuple[float, float]:
        """Mean accuracies of both, in percent."""
        return 100.0 * float(self.a.mean()), 100.0 * float(self.b.mean())


@dataclass(frozen=True)
class Difference:
    """A less B in points, with the 95 % interval and the p-value of no difference; NaN where there is one seed."""

    mean: float
    low: float
    high: float
    p: float


def difference(mean: float, tests: Sequence[Sequence[tuple[Answers, float, float]]]) -> Difference:
    """The difference `mean`, whose uncertainty is that of sums over tests of weight_a * a - weight_b * b.

    tests: for each model that was trained by itself, (answers, weight_a, weight_b) of its tests: seeds of one model
    move its tests together. For a function of accuracies, weights are its derivatives.
    """
    from scipy.special import stdtrit  # half a second to import

    parts = [variance_parts(of_model) for of_model in tests]
    of_images, rest, of_seeds, _ = map(sum, zip(*parts))
    variance = of_images + max(of_seeds, rest)
    if math.isnan(variance):
        return Difference(mean, math.nan, math.nan, math.nan)
    if variance == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    own = [(of_model, free) for *_, of_model, free in parts]
    freedom = _freedom(own, 2) * (variance / of_seeds) ** 0.75 if of_seeds > rest else math.inf
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * math.sqrt(variance)
    p = _bounded_p(mean, of_images, rest, of_seeds, _freedom(own, 0))
    return Difference(mean, mean - half, mean + half, p)


def _freedom(variances: Sequence[tuple[float, int]], correction: int) -> float:
    """Degrees of freedom of a sum of independent variances, each with its own.

    correction: 0 for Satterthwaite's estimate, which is too low (4, not 11, for eleven models of two seeds) and so fit
    for a bound; 2 for one without bias.
    """
    total = sum(variance for variance, _ in variances)
    if not total:
        return math.inf
    return total**2 / sum(variance**2 / (free + correction) for variance, free in variances) - correction


def _bounded_p(mean: float, of_images: float, rest: float, of_seeds: float, free: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import ndtri, stdtrit

    def beyond(log_level: float) -> float:
        tail = math.exp(log_level) / 2
        z, t = ndtri(tail), stdtrit(free, tail)
        return mean**2 - z**2 * of_images - max(z**2 * rest, t**2 * of_seeds)

    lowest = math.log(SMALLEST_P)
    return SMALLEST_P if beyond(lowest) > 0 else math.exp(brentq(beyond, lowest, 0.0))


def variance_parts(tests: Sequence[tuple[Answers, float, float]]) -> tuple[float, float, float, int]:
    """Of one model: the variance of images, of what is not explained, of the means of seeds; and seeds less one."""
    points = [100.0 * (weight_a * one.a - weight_b * one.b) for one, weight_a, weight_b in tests]  # (S, N) each
    seeds = len(points[0])
    if seeds < 2 or points[0].shape[1] < 2:
        return math.nan, math.nan, math.nan, 1
    rests = list(map(_rest, points))
    of_images = [values.mean(0).var(ddof=1) / values.shape[1] for values in points]
    of_seeds = float(sum(values.mean(1) for values in points).var(ddof=1)) / seeds
    return sum(max(own - rest, 0.0) for own, rest in zip(of_images, rests)), sum(rests), of_seeds, seeds - 1


def _rest(values: np.ndarray) -> float:
    """The variance that what seeds and images do not explain gives the mean of (S, N) values."""
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((residuals**2).sum()) / ((values.shape[0] - 1) * (values.shape[1] - 1)) / values.size


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Exact p-value of McNemar's test of two runs: whether the images that one alone has right are shared evenly."""
    from scipy.stats import binomtest

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; a NaN stays one and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def seeds_needed(deviation: float, points: float = 1.0, power: float = 0.8, most: int = 1000) -> int | None:
    """How many seeds show a difference of `points` with that power, in a paired t test at 5 %; None beyond `most`.

    deviation: of each method over its seeds, which move independently.
    """
    from scipy.stats import nct, t

    spread = math.sqrt(2) * deviation
    for seeds in range(2, most + 1):
        bound, shift = t.ppf(1 - LEVEL / 2, seeds - 1), math.sqrt(seeds) * points / spread if spread else math.inf
        if math.isinf(shift) or nct.sf(bound, seeds - 1, shift) >= power:
            return seeds
    return None
