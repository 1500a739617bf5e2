"""Differences of two methods that answered the same images with the same seeds, and how far chance explains them.

A method's accuracy depends on chance twice: on the seed that it was trained with, and on the images that it happens to
be tested on. Seeds and images are crossed, each image being seen with every seed, so the variance of a mean difference
has three parts: of seeds, of images, and of what neither explains. They are taken from the sums of squares of a two-way
analysis of variance. Intervals and p-values are Student's t with (S - 1) V / V_S degrees of freedom, where V is the
whole variance and V_S that part of it which is known from S seeds alone: S - 1 where seeds decide, and many where
images do. Satterthwaite's own (S - 1) V^2 / V_S^2 are too many for three seeds, whose variance often comes out small.

The usual hierarchical bootstrap, percentiles over resampled seeds and images, would need more seeds: of three it finds
two thirds of their variance. benchmarks/comparisons.py measures both: see benchmarks/README.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05


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
    from scipy.special import stdtr, stdtrit  # half a second to import

    parts = [_variances(of_model) for of_model in tests]
    variance = sum(known + of_seeds for known, of_seeds, _ in parts)
    if math.isnan(variance):
        return Difference(mean, math.nan, math.nan, math.nan)
    if variance == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    uncertain = sum(of_seeds for _, of_seeds, _ in parts)
    freedom = math.inf
    if uncertain:
        freedom = uncertain / sum(of_seeds**2 / free for _, of_seeds, free in parts) * variance
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * math.sqrt(variance)
    return Difference(mean, mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / math.sqrt(variance))))


def _variances(tests: Sequence[tuple[Answers, float, float]]) -> tuple[float, float, int]:
    """Of one model: the variance that its many images tell, what is known from its seeds alone, and seeds less one."""
    points = [100.0 * (weight_a * one.a - weight_b * one.b) for one, weight_a, weight_b in tests]  # (S, N) each
    seeds = len(points[0])
    if seeds < 2:
        return math.nan, math.nan, 1
    rests = list(map(_rest, points))
    of_images = [values.mean(0).var(ddof=1) / values.shape[1] for values in points]
    known = sum(max(own - rest, 0.0) for own, rest in zip(of_images, rests))  # the rest is among both and counts once
    of_seeds = float(sum(values.mean(1) for values in points).var(ddof=1)) / seeds
    return (known, of_seeds, seeds - 1) if of_seeds > sum(rests) else (known + sum(rests), 0.0, seeds - 1)


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
