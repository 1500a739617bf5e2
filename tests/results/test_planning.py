"""The smallest difference that N seeds show, against experiments that are carried out."""

import math

import numpy as np
import pytest

from mocoop.results.planning import smallest_difference
from mocoop.results.stats import Answers, difference

IMAGES = 400


def experiment(chance, seeds, points=0.0, of_seeds=0.015, models=1):
    """Answers of two methods whose true accuracies differ by so many points, as `tests` of `models` models."""
    tests = []
    for _ in range(models):
        hardness = chance.beta(2, 2, IMAGES)  # of the images, for both methods
        moved = chance.normal(0, of_seeds, (2, seeds, 1)) + np.array([points / 100, 0.0]).reshape(2, 1, 1)
        a, b = chance.random((2, seeds, IMAGES)) < 0.15 + 0.7 * hardness + moved
        tests.append([(Answers(a, b), 1 / models, 1 / models)])
    return tests


def p_of(tests):
    mean = sum(weight * (one.accuracies[0] - one.accuracies[1]) for model in tests for one, weight, _ in model)
    return difference(mean, tests).p


@pytest.mark.parametrize("seeds, models", [(3, 1), (8, 1), (3, 4)])
def test_a_difference_of_that_size_is_shown_as_often_as_it_says(seeds, models):
    chance = np.random.default_rng(seeds)
    pilot = experiment(chance, 200, models=models)
    points = smallest_difference(pilot, seeds)
    shown = [p_of(experiment(chance, seeds, points, models=models)) < 0.05 for _ in range(250)]
    assert 0.7 < np.mean(shown) < 0.9


def test_more_seeds_show_less_and_a_stricter_level_asks_for_more():
    pilot = experiment(np.random.default_rng(0), 5)
    points = [smallest_difference(pilot, seeds) for seeds in (2, 3, 5, 10, 100)]
    assert points == sorted(points, reverse=True)
    assert smallest_difference(pilot, 5, level=0.01) > smallest_difference(pilot, 5)
    assert smallest_difference(pilot, 5, power=0.5) < smallest_difference(pilot, 5)


def test_the_test_images_bound_what_any_number_of_seeds_shows():
    chance = np.random.default_rng(1)
    answers = chance.random((2, 1, IMAGES)) < 0.7
    a, b = np.repeat(answers, 5, axis=1)  # every seed answers alike
    points = 100 * (a[0].astype(float) - b[0])
    expected = (1.959964 + 0.841621) * points.std(ddof=1) / math.sqrt(IMAGES)
    assert smallest_difference([[(Answers(a, b), 1.0, 1.0)]], 1000) == pytest.approx(expected, rel=1e-3)


def test_what_is_not_known():
    pilot = experiment(np.random.default_rng(0), 1)
    assert math.isnan(smallest_difference(pilot, 3))
    same = Answers(np.ones((3, 10), bool), np.ones((3, 10), bool))
    assert smallest_difference([[(same, 1.0, 1.0)]], 3) == 0
