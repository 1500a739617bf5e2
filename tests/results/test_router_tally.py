"""What other routers would have reached, beside a count image by image."""

from itertools import combinations

import numpy as np
import pytest

from mocoop.results.routing import RouterTally

IMAGES, EXPERTS, CLASSES, TOP_K = 60, 4, 5, 2
GROUPS, STYLES = ["photo", "dark", "sketch", "noisy"], ["sketch", "unknown", "photo"]


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    experts = rng.normal(size=(IMAGES, EXPERTS, CLASSES))
    router = rng.normal(size=(IMAGES, EXPERTS))
    chosen = np.argsort(-router, axis=1)[:, :TOP_K]
    gates = np.exp(np.take_along_axis(router, chosen, 1))
    gates /= gates.sum(1, keepdims=True)
    logits = np.stack([sum(g * experts[i, e] for g, e in zip(gates[i], chosen[i])) for i in range(IMAGES)])
    labels = np.where(rng.random(IMAGES) < 0.5, experts[:, 1].argmax(-1), rng.integers(0, CLASSES, IMAGES))
    return logits, experts, chosen, gates, rng.normal(size=(IMAGES, EXPERTS)), labels, rng.integers(0, 3, IMAGES)


def tallied(batch, sizes):
    tally, start = RouterTally(), 0
    for size in sizes:
        tally.add(*(part[start : start + size] for part in batch))
        start += size
    return tally.summary(GROUPS, STYLES)


def by_hand(batch):
    logits, experts, chosen, gates, similarity, labels, domains = batch
    right = {name: [] for name in ("router", "dense", "random", "style", "any expert")}
    alone, load, shared = [0] * EXPERTS, [0.0] * EXPERTS, []
    for i, label in enumerate(labels):
        right["router"].append(max(range(CLASSES), key=lambda c: logits[i, c]) == label)
        right["dense"].append(np.argmax(np.mean(experts[i], axis=0)) == label)
        sets = [np.argmax(experts[i, a] + experts[i, b]) == label for a, b in combinations(range(EXPERTS), 2)]
        right["random"].append(sum(sets) / len(sets))
        single = [np.argmax(experts[i, e]) == label for e in range(EXPERTS)]
        right["any expert"].append(any(single))
        if STYLES[domains[i]] in GROUPS:
            right["style"].append(single[GROUPS.index(STYLES[domains[i]])])
        for e in range(EXPERTS):
            alone[e] += single[e]
        for e, gate in zip(chosen[i], gates[i]):
            load[e] += gate
        nearest = sorted(range(EXPERTS), key=lambda e: -similarity[i, e])[:TOP_K]
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


def test_without_styles_there_is_no_router_of_them(batch):
    tally = RouterTally()
    tally.add(*batch)
    assert tally.summary(GROUPS, ["unknown"])["accuracy"]["style"] is None


def test_many_sets_are_drawn(batch):
    rng = np.random.default_rng(0)
    experts = rng.normal(size=(20, 12, 3))
    chosen = np.tile(np.arange(6), (20, 1))
    tally = RouterTally()
    tally.add(
        experts.mean(1), experts, chosen, np.full((20, 6), 1 / 6), experts[..., 0], np.zeros(20, int), np.zeros(20)
    )
    assert len(tally.members) == 200 and np.allclose(tally.members.sum(1), 1)
    assert (np.isclose(tally.members, 1 / 6) | (tally.members == 0)).all()
