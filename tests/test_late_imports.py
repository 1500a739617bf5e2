"""What waits to be imported changes no random numbers of a run: they are those of a process that has it already."""

import builtins
import random

import numpy as np
import pytest
import torch

from mocoop.methods.linear_probe import fitted
from mocoop.methods.mocoop.auto_groups import cluster
from mocoop.methods.tac import k_means
from tests.training.test_evaluate import scored

POINTS = np.random.default_rng(0).normal(size=(12, 4))
USES = {
    "clusters of templates": lambda: cluster(POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True), 3),
    "k-means": lambda: k_means(torch.from_numpy(POINTS), 3, seed=0),
    "logistic regression": lambda: fitted(1.0, POINTS, np.arange(12) % 2),
    "confusion matrix": lambda: scored([0, 1], [0, 0]).confusion_matrix(),
}


@pytest.fixture
def imported(monkeypatch):
    """What this package imports of scikit-learn, each time with a random number drawn, as rich does at its import."""
    found, original = [], builtins.__import__

    def drawing(name, scope=None, *rest):
        if name.startswith("sklearn") and (scope or {}).get("__name__", "").startswith("mocoop."):
            found.append(name)
            random.random()
        return original(name, scope, *rest)

    monkeypatch.setattr(builtins, "__import__", drawing)
    return found


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_no_random_number_is_drawn(imported, use):
    before = random.getstate()
    use()
    assert imported and random.getstate() == before
