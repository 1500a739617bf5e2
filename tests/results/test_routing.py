"""Which experts answered, which would have, and what other routers would have reached, beside a count by hand."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.results.routing import (
    RouterTally,
    chance_in_top_k,
    chosen_shares,
    class_shares,
    concentration,
    gate_entropies,
    over_seeds,
    predictions_of,
    strongest_images,
    summarise_routing,
    that_route,
    with_predictions,
)
from mocoop.results.runs import collect
from tests.results.routed import CHOICES, EXPERTS, add_routed_run
from tests.results.runs import add_run

GROUPS = ["photo", "sketch", "dark"]


def test_shares_are_counted_per_expert_and_style():
    chosen = [[0, 1], [1, 0], [2, 0], [1, 2]]
    routing = summarise_routing(GROUPS, chosen, [[0.5, 0.5]] * 4, [0, 1, 0, 1], ["photo", "sketch"])
    assert routing["groups"] == GROUPS and routing["top_k"] == 2
    assert routing["chosen"] == [75.0, 75.0, 50.0]
    assert routing["chosen_by_domain"] == {"photo": [100.0, 50.0, 50.0], "sketch": [50.0, 100.0, 50.0]}
    assert routing["domain_in_top_k"] == 100.0 and chance_in_top_k(routing) == pytest.approx(200 / 3)


def test_styles_without_a_group_or_an_image_are_left_out():
    """Of the hit rate and of the rows; without a style there is neither."""
    routing = summarise_routing(GROUPS, [[0, 1], [1, 2], [0, 1]], [[1.0, 0.0]] * 3, [0, 0, 1], ["dark", "painting"])
    assert routing["domain_in_top_k"] == 50.0 and "painting" in routing["chosen_by_domain"]
    routing = summarise_routing(GROUPS, [[0]], [[1.0]], [0], ["photo", "dark"])
    assert list(routing["chosen_by_domain"]) == ["photo"]
    routing = summarise_routing(GROUPS, [[0, 2]], [[0.3, 0.7]])
    assert routing["domain_in_top_k"] is None and routing["chosen_by_domain"] == {}


def test_gate_entropy_runs_from_zero_to_ln_k_and_every_image_has_its_own():
    assert summarise_routing(GROUPS, [[0, 1]], [[1.0, 0.0]])["gate_entropy"] == 0.0
    assert summarise_routing(GROUPS, [[0, 1]], [[0.5, 0.5]])["gate_entropy"] == pytest.approx(math.log(2))
    first = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert gate_entropies([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]]).tolist() == pytest.approx([first, math.log(2), 0.0])


@pytest.fixture
def runs(tmp_path):
    add_routed_run(tmp_path, seed=1)
    add_routed_run(tmp_path, seed=2, choices=[(0, 0, "photo", ("photo", "dark"), (0.9, 0.1)), *CHOICES[2:]])
    return collect(tmp_path).frame


@pytest.fixture
def predictions(runs):
    return predictions_of(next(runs.itertuples()))


def test_shares_are_counted_per_value_of_a_column_and_images_sorted_by_an_experts_weight(predictions):
    by_style = chosen_shares(predictions, EXPERTS, "domain")
    assert by_style.loc["photo"].tolist() == [100.0, 50.0, 50.0]
    assert by_style.loc["dark"].tolist() == [50.0, 100.0, 50.0]
    best = strongest_images(predictions, "photo", 2)
    assert best["gate"].tolist() == [1.0, 0.9]
    assert best["path"].tolist() == ["set/image03.png", "set/image00.png"]
    assert len(strongest_images(predictions, "photo", 9)) == 3  # the third image has other experts


def test_class_shares_are_means_over_seeds_in_label_order(runs):
    shares = class_shares(runs)
    assert list(shares.mean.index) == ["cat", "dog"]
    assert shares.mean.loc["cat"].tolist() == [100.0, 100.0, 0.0]
    assert shares.mean.loc["dog"].tolist() == [50.0, 50.0, 100.0]
    assert shares.largest == 0.0


def test_the_spread_over_seeds_is_the_samples_and_concentration_tells_one_expert_from_all():
    tables = [pd.DataFrame([[value, 1.0]], ["a"], ["x", "y"]) for value in (1.0, 3.0)]
    spread = over_seeds(tables)
    assert spread.mean.loc["a"].tolist() == [2.0, 1.0]
    assert spread.largest == pytest.approx(math.sqrt(2)) and math.isnan(over_seeds(tables[:1]).largest)
    shares = pd.DataFrame({"a": [100.0, 50.0], "b": [0.0, 50.0]}, index=["one", "all"])
    assert concentration(shares).tolist() == pytest.approx([1.0, 0.0])


def test_only_runs_that_route_and_left_predictions_count(tmp_path, runs):
    add_run(tmp_path, 60.0, method="CoOp")
    without = add_routed_run(tmp_path, seed=3)
    (without / "predictions.csv").unlink()
    found = collect(tmp_path)
    place = ["protocol", "phase", "dataset", "shots", "method", "cfg"]
    found.gaps.append(found.frame.iloc[0][place].to_dict() | {"seed": 9})
    assert len(found.with_gaps()) == 5 and len(that_route(found.with_gaps())) == 3
    assert with_predictions(that_route(found.frame))["seed"].tolist() == [1, 2]


def test_predictions_of_a_method_that_does_not_route_are_refused(tmp_path, runs):
    run = next(runs.itertuples())
    path = tmp_path / "base2new/train_base/shapes_both/shots_16/MoCoOp/tiny/seed1/predictions.csv"
    pd.read_csv(path).drop(columns=["experts", "gates"]).to_csv(path, index=False)
    with pytest.raises(DataError, match="no column experts, expected the predictions of a method that routes"):
        predictions_of(run)


def test_a_label_that_the_record_does_not_know_is_refused(tmp_path):
    add_routed_run(tmp_path, choices=[(7, 0, "photo", ("photo", "dark"), (0.9, 0.1))])
    with pytest.raises(DataError, match="predictions.csv has 1 images of labels up to 7"):
        predictions_of(next(collect(tmp_path).frame.itertuples()))


IMAGES, COUNT, CLASSES, TOP_K = 60, 4, 5, 2
NAMES, STYLES = ["photo", "dark", "sketch", "noisy"], ["sketch", "unknown", "photo"]


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    experts = rng.normal(size=(IMAGES, COUNT, CLASSES))
    router = rng.normal(size=(IMAGES, COUNT))
    chosen = np.argsort(-router, axis=1)[:, :TOP_K]
    gates = np.exp(np.take_along_axis(router, chosen, 1))
    gates /= gates.sum(1, keepdims=True)
    logits = np.stack([sum(g * experts[i, e] for g, e in zip(gates[i], chosen[i])) for i in range(IMAGES)])
    labels = np.where(rng.random(IMAGES) < 0.5, experts[:, 1].argmax(-1), rng.integers(0, CLASSES, IMAGES))
    return logits, experts, chosen, gates, rng.normal(size=(IMAGES, COUNT)), labels, rng.integers(0, 3, IMAGES)


def tallied(batch, sizes, styles=STYLES):
    tally, start = RouterTally(), 0
    for size in sizes:
        tally.add(*(part[start : start + size] for part in batch))
        start += size
    return tally.summary(NAMES, styles)


def by_hand(batch):
    logits, experts, chosen, gates, similarity, labels, domains = batch
    right = {name: [] for name in ("router", "dense", "random", "style", "any expert")}
    alone, load, shared = [0] * COUNT, [0.0] * COUNT, []
    for i, label in enumerate(labels):
        right["router"].append(max(range(CLASSES), key=lambda c: logits[i, c]) == label)
        right["dense"].append(np.argmax(np.mean(experts[i], axis=0)) == label)
        sets = [np.argmax(experts[i, a] + experts[i, b]) == label for a, b in combinations(range(COUNT), 2)]
        right["random"].append(sum(sets) / len(sets))
        single = [np.argmax(experts[i, e]) == label for e in range(COUNT)]
        right["any expert"].append(any(single))
        if STYLES[domains[i]] in NAMES:
            right["style"].append(single[NAMES.index(STYLES[domains[i]])])
        for e in range(COUNT):
            alone[e] += single[e]
        for e, gate in zip(chosen[i], gates[i]):
            load[e] += gate
        nearest = sorted(range(COUNT), key=lambda e: -similarity[i, e])[:TOP_K]
        shared.append(len(set(nearest) & set(chosen[i])) / TOP_K)
    accuracy = {name: 100 * float(np.mean(values)) for name, values in right.items()}
    accuracy["best expert"] = 100 * max(alone) / IMAGES
    return {"load": [100 * x / IMAGES for x in load], "agreement": 100 * float(np.mean(shared)), "accuracy": accuracy}


def test_it_counts_as_by_hand_whatever_the_batches(batch):
    expected = by_hand(batch)
    for sizes in ([IMAGES], [7, 50, 3]):
        found = tallied(batch, sizes)
        assert found["accuracy"] == pytest.approx(expected["accuracy"])
        assert found["load"] == pytest.approx(expected["load"]) and sum(found["load"]) == pytest.approx(100)
        assert found["agreement"] == pytest.approx(expected["agreement"])
    assert len(set(expected["accuracy"].values())) == 6
    assert tallied(batch, [IMAGES], ["unknown"])["accuracy"]["style"] is None  # without styles


def test_many_sets_are_drawn(batch):
    rng = np.random.default_rng(0)
    experts = rng.normal(size=(20, 12, 3))
    chosen = np.tile(np.arange(6), (20, 1))
    tally = RouterTally()
    gates, none = np.full((20, 6), 1 / 6), np.zeros(20, int)
    tally.add(experts.mean(1), experts, chosen, gates, experts[..., 0], none, none)
    assert len(tally.members) == 200 and np.allclose(tally.members.sum(1), 1)
    assert (np.isclose(tally.members, 1 / 6) | (tally.members == 0)).all()
