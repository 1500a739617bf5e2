import math

import numpy as np
import pytest
from scipy.stats import binom, nct, norm, t

from benchmarks.comparisons import coverage
from mocoop.results.stats import Answers, difference, holm, mcnemar, seeds_needed


def answers(seeds: int = 4, images: int = 30, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=images)
    scores = ease + rng.normal(size=(2, seeds, 1)) + rng.normal(size=(2, seeds, images))
    return Answers(*(scores > 0))


def naive_interval(one: Answers) -> tuple[float, float, dict]:
    """The sums of squares of a two-way layout written out seed by seed and image by image."""
    seeds, images = one.a.shape
    points = [[100 * (int(one.a[s, i]) - int(one.b[s, i])) for i in range(images)] for s in range(seeds)]
    grand = sum(map(sum, points)) / (seeds * images)
    of_seed = [sum(row) / images for row in points]
    of_image = [sum(points[s][i] for s in range(seeds)) / seeds for i in range(images)]
    rest = sum((points[s][i] - of_seed[s] - of_image[i] + grand) ** 2 for s in range(seeds) for i in range(images))
    rest /= (seeds - 1) * (images - 1) * seeds * images
    by_seeds = sum((mean - grand) ** 2 for mean in of_seed) / (seeds - 1) / seeds
    by_images = sum((mean - grand) ** 2 for mean in of_image) / (images - 1) / images
    assert by_seeds > rest  # or there would be no seed variance to speak of
    variance = by_seeds + max(by_images - rest, 0)
    half = t.ppf(0.975, (seeds - 1) * (variance / by_seeds) ** 0.75) * math.sqrt(variance)
    tail = {level: (norm.ppf(level / 2) ** 2, t.ppf(level / 2, seeds - 1) ** 2) for level in (0.05, 0.001)}
    bound = {level: z * (variance - by_seeds) + max(z * rest, s * by_seeds) for level, (z, s) in tail.items()}
    return grand - half, grand + half, {level: math.sqrt(value) for level, value in bound.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interval_is_that_of_sums_of_squares(seed):
    one = answers(seed=seed)
    a, b = one.accuracies
    found = difference(a - b, [[(one, 1.0, 1.0)]])
    low, high, bounds = naive_interval(one)
    assert (found.low, found.high) == pytest.approx((low, high))
    for level, bound in bounds.items():
        assert difference(-bound, [[(one, 1.0, 1.0)]]).p == pytest.approx(level)


def test_seeds_that_move_two_tests_together_do_not_cancel():
    """Two tests of one model are less sure than two of two models."""
    one = answers()
    together = difference(0.0, [[(one, 0.5, 0.5), (one, 0.5, 0.5)]])
    apart = difference(0.0, [[(one, 0.5, 0.5)], [(one, 0.5, 0.5)]])
    assert together.high > 1.2 * apart.high


def test_equal_answers_are_surely_equal_and_one_seed_is_never_sure():
    one = answers()
    same = difference(0.0, [[(Answers(one.a, one.a), 1.0, 1.0)]])
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)
    single = difference(5.0, [[(Answers(one.a[:1], one.b[:1]), 1.0, 1.0)]])
    assert single.mean == 5.0 and all(map(math.isnan, (single.low, single.high, single.p)))


def test_methods_without_chance_in_seeds_are_told_apart_by_images():
    """Two zero-shot methods, three times the same answers: the paired t test of one of them."""
    one = answers(1, 500)
    thrice = Answers(np.repeat(one.a, 3, 0), np.repeat(one.b, 3, 0))
    points = 100.0 * (one.a[0].astype(float) - one.b[0])
    found = difference(points.mean(), [[(thrice, 1.0, 1.0)]])
    assert found.high - found.mean == pytest.approx(1.96 * points.std(ddof=1) / math.sqrt(500), rel=1e-3)


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (3, 9), (7, 7), (12, 0)])
def test_mcnemar_is_exact(only_a, only_b):
    a = np.array([True] * only_a + [False] * only_b + [True] * 5)
    b = np.array([False] * only_a + [True] * only_b + [True] * 5)
    tail = 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5) if only_a + only_b else 1.0
    assert mcnemar(a, b) == pytest.approx(min(1.0, tail))


def test_holm_steps_down():
    assert holm([0.01, 0.04, math.nan, 0.03]) == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)
    assert holm([0.9, 0.9]) == [1.0, 1.0] and holm([]) == []


@pytest.mark.parametrize("deviation", [0.3, 0.7])
def test_seeds_that_show_a_point(deviation):
    seeds = seeds_needed(deviation)
    power = {
        number: nct.sf(t.ppf(0.975, number - 1), number - 1, math.sqrt(number / 2) / deviation)
        for number in (seeds - 1, seeds)
    }
    assert power[seeds] >= 0.8 > power[seeds - 1]
    assert seeds_needed(0.0) == 2 and seeds_needed(30.0) is None


@pytest.mark.parametrize(
    "seeds, deviation, sets, measure",
    [(3, 0.5, 1, "base"), (3, 3.0, 1, "base"), (3, 1.0, 1, "H"), (3, 0.5, 5, "base"), (2, 1.0, 5, "base")],
)
def test_intervals_hold_the_truth_and_alarms_are_rare(seeds, deviation, sets, measure):
    """500 draws find 95 % with an error of 1.0 and 5 % too, so these bounds are three errors away."""
    found = coverage(500, seeds, 100, deviation, sets, measure)
    assert 92.0 <= found["interval"] <= 98.0
    assert found["false alarms"] <= 8.0 and found["on average"] <= 8.0
