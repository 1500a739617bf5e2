"""Means, spreads and H over seeds; differences of pairs beside sums written out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binom, nct, norm, t

from mocoop.errors import DataError
from mocoop.results.runs import collect, join_cfgs
from mocoop.results.stats import (
    Answers,
    base_to_new,
    difference,
    harmonic_mean,
    holm,
    interval,
    mcnemar,
    mixed_settings,
    over_seeds,
    seed_matrix,
    seeds_needed,
    transfer,
)
from tests.results.runs import add_base_new, add_run, make_config


def summary_of(root, **options):
    return base_to_new(collect(root).frame, **options)


def test_harmonic_mean_of_published_averages_and_of_nothing():
    published = [(84.24, 75.67, 79.73), (69.34, 74.22, 71.70), (82.69, 63.22, 71.66), (80.47, 71.69, 75.83)]
    assert all(round(harmonic_mean(base, new), 2) == h for base, new, h in published)
    assert harmonic_mean(0.0, 0.0) == 0.0


def test_h_is_taken_of_the_means_and_its_spread_over_the_seeds(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 82.0, 3: 84.0}, {1: 70.0, 2: 60.0, 3: 65.0}, dataset="a")
    row = summary_of(tmp_path).loc[("a", "CoOp", "tiny", 16)]
    assert (row.base, row.base_std, row.new, row.new_std) == pytest.approx((82.0, 2.0, 65.0, 5.0))
    assert row.h == pytest.approx(2 * 82 * 65 / 147)
    each = [2 * b * n / (b + n) for b, n in ((80, 70), (82, 60), (84, 65))]
    mean = sum(each) / 3
    assert row.h_std == pytest.approx(math.sqrt(sum((h - mean) ** 2 for h in each) / 2))
    add_base_new(tmp_path, {1: 60.0, 2: 64.0, 3: 68.0}, {1: 50.0, 2: 50.0, 3: 50.0}, dataset="b")
    row = summary_of(tmp_path).loc[("average", "CoOp", "tiny", 16)]  # over datasets, and its H of the averages
    assert (row.base, row.new, row.h) == pytest.approx((73.0, 57.5, harmonic_mean(73.0, 57.5)))
    assert row.base_std == pytest.approx(3.0)


def test_base_and_new_of_one_test(tmp_path):
    """Of the protocol base2new_all; its trainings say nothing of either."""
    add_run(tmp_path, 50.0, protocol="xd", phase="test")
    with pytest.raises(DataError, match="got no run of train_base or test_new"):
        summary_of(tmp_path)
    for seed, (base, new) in enumerate([(60.0, 40.0), (64.0, 50.0)], start=1):
        add_run(tmp_path / "all", 90.0, phase="train_base", seed=seed)
        sides = {"base_accuracy": base, "new_accuracy": new}
        add_run(tmp_path / "all", 50.0, protocol="base2new_all", phase="test_all", seed=seed, sides=sides)
    row = summary_of(tmp_path / "all").iloc[0]
    assert (row.base, row.new, row.h) == pytest.approx((62.0, 45.0, harmonic_mean(62.0, 45.0)))


def test_a_missing_seed_is_a_gap_and_named_in_its_dataset_and_in_the_average(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 81.0, 3: 82.0}, {1: 70.0, 3: 71.0}, dataset="a")
    add_base_new(tmp_path, {1: 80.0, 2: 81.0, 3: 82.0}, {1: 70.0, 2: 70.0, 3: 70.0}, dataset="b")
    add_base_new(tmp_path, {1: 80.0, 2: 80.0, 3: 80.0}, {1: 70.0}, dataset="b", method="MoCoOp")
    rows = summary_of(tmp_path)
    row = rows.loc[("a", "CoOp", "tiny", 16)]
    assert row.base == 81.0 and math.isnan(row.new) and math.isnan(row.h) and math.isnan(row.h_std)
    assert (row.base_lacking, row.new_lacking) == ([], [2])
    average = rows.loc[("average", "CoOp", "tiny", 16)]
    assert average.base == 81.0 and math.isnan(average.new) and math.isnan(average.h)
    row = rows.loc[("a", "MoCoOp", "tiny", 16)]  # without a run
    assert math.isnan(row.base) and row.base_lacking == [1, 2, 3]
    row = summary_of(tmp_path, seeds=[1]).loc[("a", "CoOp", "tiny", 16)]
    assert (row.base, row.new, row.h) == (80.0, 70.0, pytest.approx(harmonic_mean(80, 70)))
    assert math.isnan(row.base_std) and math.isnan(row.h_std)


def test_methods_stand_in_the_papers_order(tmp_path):
    for method in ("MoCoOp", "CoOp", "Another", "ZeroshotCLIP", "CoCoOp"):
        add_run(tmp_path, 50.0, method=method)
    rows = seed_matrix(collect(tmp_path).frame).index.get_level_values("method")
    assert rows.tolist() == ["ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp", "Another"]


def test_seeds_of_different_settings_are_named_and_any_column_can_be_followed_over_them(tmp_path):
    changed = make_config(seed=2, classes="base")
    changed["OPTIM"]["LR"] = 0.1
    add_run(tmp_path, 50.0, seed=1)
    assert mixed_settings(collect(tmp_path).frame) == []
    add_run(tmp_path, 50.0, seed=2, config=changed)
    (line,) = mixed_settings(collect(tmp_path).frame)
    assert line.startswith("base2new/train_base/shapes_both/CoOp/tiny/16: its seeds were run with 2 different")
    row = over_seeds(seed_matrix(collect(tmp_path).frame, column="train_seconds")).iloc[0]
    assert (row["mean"], row["std"], row["lacking"]) == (2.5, 0.0, [])


def test_interval_is_students_and_that_of_one_seed_is_not_known(tmp_path):
    for seeds, quantile in ((2, 12.7062), (3, 4.3027), (5, 2.7764), (30, 2.0452)):
        assert interval(2.0, seeds) == pytest.approx(quantile * 2.0 / math.sqrt(seeds), rel=1e-4)
    add_run(tmp_path, 50.0)
    summary = over_seeds(seed_matrix(collect(tmp_path).frame))
    assert summary["seeds"].tolist() == [1] and interval(summary["std"], summary["seeds"]).isna().all()


def test_transfer_averages_the_targets_without_the_source(tmp_path):
    add_run(tmp_path, 70.0, protocol="xd", phase="train", dataset="imagenet")
    add_run(tmp_path, 40.0, protocol="xd", phase="test", dataset="dtd")
    assert list(transfer(collect(tmp_path).frame).index.unique("dataset")) == ["imagenet (source)", "dtd"]
    add_run(tmp_path, 60.0, protocol="xd", phase="test", dataset="zoo")
    means = transfer(collect(tmp_path).frame)["mean"].droplevel(["method", "cfg", "shots"])
    assert list(means.items()) == [("imagenet (source)", 70.0), ("dtd", 40.0), ("zoo", 60.0), ("average", 50.0)]
    add_run(tmp_path, 40.0, protocol="xd", phase="test", dataset="dtd", seed=2)
    means = transfer(collect(tmp_path).frame)["mean"].droplevel(["method", "cfg", "shots"])
    assert means.isna().to_dict() == {"imagenet (source)": True, "dtd": False, "zoo": True, "average": True}


def test_configurations_that_never_meet_are_joined(tmp_path):
    add_run(tmp_path, 50.0, dataset="a", cfg="ep50")
    add_run(tmp_path, 60.0, dataset="b", cfg="ep200")
    joined, notes = join_cfgs(collect(tmp_path).frame)
    assert joined.cfg.tolist() == ["ep200+ep50"] * 2 and len(notes) == 1
    assert seed_matrix(joined)[1].tolist() == [50.0, 60.0, 55.0]


@pytest.mark.parametrize(
    "one, other",
    [
        ({"dataset": "a"}, {"dataset": "a"}),
        ({"dataset": "a"}, {"dataset": "a", "phase": "test_new"}),
        ({"dataset": "a", "backbone": "RN50"}, {"dataset": "b", "backbone": "ViT-B/16"}),
    ],
)
def test_configurations_that_meet_on_a_dataset_or_have_different_backbones_are_not(tmp_path, one, other):
    add_run(tmp_path, 50.0, cfg="ep50", **one)
    add_run(tmp_path, 60.0, cfg="ep200", **other)
    joined, notes = join_cfgs(collect(tmp_path).frame)
    assert sorted(joined.cfg) == ["ep200", "ep50"] and notes == []


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
