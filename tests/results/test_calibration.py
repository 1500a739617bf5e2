import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mocoop.errors import MocoopError
from mocoop.results.calibration import Margins, fit_temperature, join_margins, likelihood_loss
from mocoop.results.metrics import calibration_error, compute_sides, rank


def made_up(images=300, classes=7, seed=0, pull=1.0):
    chance = np.random.default_rng(seed)
    labels = chance.integers(classes, size=images)
    logits = chance.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    logits[:, :4] += pull  # base classes are favoured
    return logits, labels


def swept(margins):
    """The area from a walk over every step of the curve, straight lines between its points."""
    steps = np.unique(margins.margin)
    shifts = [steps[0] - 1, *((steps[1:] + steps[:-1]) / 2), steps[-1] + 1]
    points = [(new, base) for base, new in map(margins.accuracies, shifts)]
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(points, points[1:])) / 100


@pytest.mark.parametrize("digits", [12, 0])
def test_the_area_is_that_of_a_walk_over_every_step(digits):
    logits, labels = made_up()
    margins = Margins.of(np.round(logits, digits), labels, 4)
    assert len(np.unique(margins.margin)) < 20 if digits == 0 else len(np.unique(margins.margin)) == 300
    assert margins.area() == pytest.approx(swept(margins), rel=1e-12)
    assert 0 < margins.area() < 100


def test_without_a_shift_it_is_the_test_s_own_accuracy():
    """Which a shift of all new classes changes, and the area not."""
    logits, labels = made_up()
    margins, sides = Margins.of(logits, labels, 4), compute_sides(rank(logits), labels, 4)
    assert margins.accuracies(0.0) == (sides["base_accuracy"], sides["new_accuracy"])
    halves = join_margins([Margins.of(logits[:100], labels[:100], 4), Margins.of(logits[100:], labels[100:], 4)])
    assert halves.area() == margins.area()
    shifted = [Margins.of(*made_up(pull=pull), 4) for pull in (-2.0, 0.0, 3.0)]
    assert len({round(each.area(), 9) for each in shifted}) == 1
    assert len({each.accuracies(0.0) for each in shifted}) == 3


def test_perfect_sides_and_one_side_alone():
    logits, labels = 9.0 * np.eye(4), np.arange(4)
    assert Margins.of(logits, labels, 2).area() == 100
    with pytest.raises(MocoopError, match="base classes alone, expected both"):
        Margins.of(logits[:2], labels[:2], 2).area()
    assert fit_temperature(logits, labels) == 0.01  # all right and all wrong: bounded
    assert fit_temperature(logits, (labels + 1) % 4) == 100


@pytest.mark.parametrize("scale", [0.2, 1.0, 8.0])
def test_a_temperature_is_the_one_that_makes_the_labels_most_likely(scale):
    logits, labels = made_up(2000)
    temperature = fit_temperature(scale * logits, labels)
    best = minimize_scalar(lambda t: likelihood_loss(scale * logits / t, labels), bounds=(0.01, 50), method="bounded")
    assert temperature == pytest.approx(best.x, rel=1e-3)
    assert temperature == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-6)


def test_overconfident_scores_are_trusted_less_afterwards():
    logits, labels = made_up(4000, pull=0)
    scaled = 6 * logits / fit_temperature(6 * logits[:2000], labels[:2000])

    def error(scores):
        ranking = rank(scores[2000:])
        return calibration_error(ranking.confidence, ranking.predictions == labels[2000:])

    assert error(scaled) < 0.05 < 0.2 < error(6 * logits)
