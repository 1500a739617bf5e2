"""How many seeds can tell two methods apart: the smallest difference that N seeds would show, from the spread so far.

"Show" is meant as `mocoop.results.stats` has it: the p-value of a difference is below a level. What varies between
repetitions with other seeds and other test images are the difference itself, normal with the variance V_I + V_S, and
the variance of seeds that N seeds find, V_S times a chi-square of N - 1 degrees of freedom over their number, one for
each model that is trained by itself. V_I, of the test images, does not fall with more seeds; V_S falls with 1 / N.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.results.compare import compare
from mocoop.results.render import Cell, Table
from mocoop.results.stats import AVERAGE, LEVEL, Answers, variance_parts

POWER = 0.8
DRAWS = 1000
NOTES = [
    "The true difference in points that so many seeds of both methods show in 80 % of the cases, for the spread over "
    "the seeds that are there, on the same test images: p below 0.05, for a data set divided by their number, so that "
    "it holds whatever is found on the others (Holm). At the right: what the number of test images alone asks for. The "
    "spread of few seeds is itself uncertain.",
]
ENDLESS = 10**6  # seeds


def smallest_difference(
    tests: Sequence[Sequence[tuple[Answers, float, float]]], seeds: int, level: float = LEVEL, power: float = POWER
) -> float:
    """The true difference in points that `seeds` seeds show with the probability `power`; NaN if that is not known.

    tests: as of `mocoop.results.stats.difference`, of two seeds or more.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri, stdtrit

    parts = [variance_parts(of_model) for of_model in tests]
    of_images = sum(part[0] for part in parts)
    if math.isnan(of_images) or seeds < 2:
        return math.nan
    scale = np.array([(free + 1) / seeds for *_, free in parts])
    rest = np.array([part[1] for part in parts]) * scale
    of_seeds = np.maximum(np.array([part[2] for part in parts]) * scale, rest)
    if of_images + of_seeds.sum() == 0:
        return 0.0
    chance = np.random.default_rng(0)
    found = of_seeds * chance.chisquare(seeds - 1, (DRAWS, len(parts))) / (seeds - 1)  # (DRAWS, models)
    total = found.sum(1)
    free = (seeds - 1) * total**2 / np.maximum((found**2).sum(1), 1e-300)
    z, t = ndtri(level / 2), stdtrit(np.maximum(free, 1.0), level / 2)
    bound = np.sqrt(z**2 * of_images + np.maximum(z**2 * rest.sum(), t**2 * total))
    spread = math.sqrt(of_images + of_seeds.sum())

    def lacking(difference: float) -> float:
        shown = ndtr((difference - bound) / spread) + ndtr((-difference - bound) / spread)
        return float(shown.mean()) - power

    return float(brentq(lacking, 0.0, float(bound.max()) + 20 * spread, xtol=1e-6))


def plan_table(a: pd.DataFrame, b: pd.DataFrame, protocol: str, names: tuple[str, str], seeds: Sequence[int]) -> Table:
    """What numbers of seeds would show of two methods: a row for each dataset and measure, and for their average.

    a, b: runs of one method and configuration each. Raises DataError where there are no pairs of several seeds.
    """
    rows, gaps = compare(a, b, protocol, names)
    if all(math.isnan(row.difference.p) for row in rows):
        raise DataError(f"{' and '.join(names)} share one seed, expected two or more: one says nothing of the spread")
    body = []
    for row in rows:
        sets = sum(one.family == row.family and one.dataset != AVERAGE for one in rows)
        level = LEVEL if row.dataset == AVERAGE else LEVEL / sets
        points = [Cell(smallest_difference(row.tests, count, level), None) for count in (*seeds, ENDLESS)]
        body.append([row.dataset, row.family, Cell(row.difference.mean, None, signed=True), *points])
    heads = [f"{count} seeds" for count in seeds]
    columns = ["Dataset", "Measure", "Difference so far", *heads, "any number"]
    return Table(f"What seeds would show of {' against '.join(names)}", columns, body, [*NOTES, *gaps])
