"""What learns: its state between steps, and checkpoints that do not fit it."""

import pytest

from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.learner import Learner


@pytest.fixture
def saved(trained_runs):
    path = trained_runs.of("coop") / "prompt_learner/model.pth.tar-1"
    return path, load_checkpoint(path)


@pytest.fixture
def learner(trained_runs) -> Learner:
    return trained_runs.trainer("coop").learner


def test_an_optimiser_of_other_groups_is_one_line(saved, learner):
    path, checkpoint = saved
    checkpoint["optimizer"]["param_groups"].append(dict(checkpoint["optimizer"]["param_groups"][0]))
    with pytest.raises(
        CheckpointError, match="made with other settings: the state of its optimizer does not"
    ) as caught:
        learner.restore(checkpoint, path)
    assert "\n" not in str(caught.value)


def test_a_state_that_training_needs_is_named(saved, learner):
    path, checkpoint = saved
    del checkpoint["scheduler"]
    with pytest.raises(CheckpointError, match="has no scheduler state, expected a checkpoint of this trainer"):
        learner.restore(checkpoint, path)


def test_weights_of_another_shape_are_one_line(saved, learner):
    path, checkpoint = saved
    checkpoint["state_dict"]["ctx"] = checkpoint["state_dict"]["ctx"][:2]
    with pytest.raises(CheckpointError) as caught:
        learner.restore(checkpoint, path)
    assert str(path) in str(caught.value) and "ctx" in str(caught.value) and "\n" not in str(caught.value)
