import numpy as np
import pandas as pd
import pytest
import torch

from mocoop.errors import DataError
from mocoop.runs.interpretation import expert_similarity, similarities_by_dataset
from mocoop.runs.trained_run import load_run


def test_similarity_is_the_mean_cosine_over_classes(trained_runs):
    table = expert_similarity(trained_runs.of("mocoop"))
    method = load_run(trained_runs.of("mocoop")).method
    with torch.no_grad():
        first, second = method.class_features()[:2].float()
    expected = torch.nn.functional.cosine_similarity(first, second).mean().item()
    assert table.iloc[0, 1] == pytest.approx(expected, abs=1e-5)
    assert list(table.index) == list(table.columns) == method.group_names
    assert np.allclose(np.diag(table), 1.0, atol=1e-5) and np.allclose(table, table.T, atol=1e-6)


def test_a_method_without_experts_is_refused(trained_runs):
    with pytest.raises(DataError, match="CoOp has no experts, expected a run of MoCoOp"):
        expert_similarity(trained_runs.of("coop"))


def test_what_cannot_be_loaded_is_named_and_the_rest_goes_on(trained_runs, tmp_path):
    runs = pd.DataFrame({"dataset": ["a", "b"], "folder": [trained_runs.of("mocoop"), tmp_path / "none"]})
    tables, problems = similarities_by_dataset(runs)
    assert list(tables) == ["a"] and len(problems) == 1 and "none" in problems[0]
