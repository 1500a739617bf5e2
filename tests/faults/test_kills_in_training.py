"""kill -9 at random moments of training: the same command ends as if nothing had happened."""

import random
import signal

import numpy as np
import pytest
import torch

from mocoop.methods.base import PromptMethod
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.runs import BY_STEPS, BY_TIME, METHODS, STEPS, WORKERS
from tests.shipped import STEPPING

MOMENTS = 3 * STEPS  # before, in and after each step
OFTEN = [BY_STEPS, BY_TIME, ["TRAIN.CHECKPOINT_STEPS", "5"], [*BY_STEPS, *WORKERS]]
TRIALS = 20
DEATHS = 4
QUICK = {"CoOp": 4}  # trials of the quick half, one of each way to save; of other methods one


def killed_at(run, moment: int) -> None:
    ending = run.start(training_steps(Moments(kill, at=moment)))
    assert ending.status == -signal.SIGKILL, ending.err


def trials(method: str):
    draw = random.Random(f"kills of {method}")
    for number in range(TRIALS):
        marks = [] if number < QUICK.get(method, 1) else [pytest.mark.slow]
        moments = MOMENTS if method in STEPPING else 2
        yield pytest.param(method, draw.randint(1, moments), OFTEN[number % len(OFTEN)], marks=marks)


@pytest.mark.parametrize("method, moment, opts", [trial for method in METHODS for trial in trials(method)])
def test_killed_at_a_random_step(runs, ledger, method, moment, opts):
    run = runs.new(method, *opts)
    with ledger.fault("kill in training"):
        killed_at(run, moment)
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize(
    "method, seed",
    [
        ("CoOp", 1),
        *(pytest.param(method, seed, marks=pytest.mark.slow) for method in STEPPING for seed in (2, 3)),
    ],
)
def test_killed_again_and_again(runs, ledger, method, seed):
    """Every process lives for a few steps only; since each saves every second step, the run gets on."""
    draw = random.Random(f"{method} {seed}")
    run = runs.new(method, *BY_STEPS, *(WORKERS if seed == 3 else []))
    with ledger.fault("kill in training, one of several", number=DEATHS):
        for _ in range(DEATHS):
            killed_at(run, draw.randint(7, 9))
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("moment", [14, pytest.param(23, marks=pytest.mark.slow)])
def test_killed_where_iterations_are_counted(runs, ledger, moment):
    """Ten of them, three an epoch, of which the last batch is short: the rate falls in mid-epoch."""
    opts = ["OPTIM.MAX_ITER", "10", "DATALOADER.TRAIN_X.BATCH_SIZE", "5"]
    whole, broken = runs.new("CoOp", *opts), runs.new("CoOp", *opts, *BY_STEPS)
    assert whole.start().status == 0
    with ledger.fault("kill in training"):
        killed_at(broken, moment)
        broken.must_end_as(whole.out)


@pytest.mark.parametrize("steps, moment", [("7", 23), pytest.param("6", 22, marks=pytest.mark.slow)])
def test_killed_where_a_stage_ends(runs, ledger, steps, moment):
    """2SFS's head starts before step 8 of 12: a state of that very moment is gone on from, and one from before it."""
    run = runs.new("TwoSFS", "TRAIN.CHECKPOINT_STEPS", steps)
    with ledger.fault("kill in training"):
        killed_at(run, moment)
        run.must_end_as_if_nothing_had_happened()


def test_killed_before_anything_was_saved(runs, ledger):
    run = runs.new("CoOp")
    with ledger.fault("kill in training"):
        killed_at(run, 5)
        run.must_end_as_if_nothing_had_happened()


def draw_in_steps() -> None:
    """A method whose loss draws from every generator, as dropout and the like do."""
    loss = PromptMethod.loss

    def noisy(self, image, label):
        parts = loss(self, image, label)
        return parts | {"loss": parts["loss"] * (1 + torch.rand(()) + random.random() + np.random.rand())}

    PromptMethod.loss = noisy


@pytest.mark.parametrize("moment", [14, pytest.param(23, marks=pytest.mark.slow)])
def test_random_numbers_that_steps_draw_go_on_too(runs, ledger, moment):
    whole, broken = runs.new("CoOp"), runs.new("CoOp", *BY_STEPS)
    assert whole.start(draw_in_steps).status == 0
    with ledger.fault("kill in training"):
        assert broken.start(draw_in_steps, training_steps(Moments(kill, at=moment))).status == -signal.SIGKILL
        broken.must_end_as(whole.out, draw_in_steps)
