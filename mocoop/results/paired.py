"""Differences of two methods that answered the same images with the same seeds, and how far chance explains them.

A method's accuracy depends on chance twice: on the seed that it was trained with, and on the images that it happens to
be tested on. Seeds and images are crossed, each image being seen with every seed, so the variance of a mean difference
has three parts: of images V_I, of seeds, and of what neither explains, R. They are taken from the sums of squares of a
two-way analysis of variance, in which V_S, of the means of S seeds, holds R too, and has no more than S - 1 degrees of
freedom. With so few, an interval of fixed level and a test that never raises too many alarms are two things:

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

import numpy as np

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

    parts = [_variances(of_model) for of_model in tests]
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


def _variances(tests: Sequence[tuple[Answers, float, float]]) -> tuple[float, float, float, int]:
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
