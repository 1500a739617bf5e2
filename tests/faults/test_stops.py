"""SIGTERM and Ctrl-C at random steps: the state is saved, and the same command ends as if nothing had happened."""

import os
import random
import signal

import pytest

from mocoop.training.checkpoint import MODEL, NEWEST
from tests.faults.moments import Moments, training_steps
from tests.faults.runs import STEPS, WORKERS
from tests.shipped import STEPPING

slow = pytest.mark.slow


def stops():
    draw = random.Random(0)
    for method in STEPPING:
        for number in range(6):
            asked, moment = draw.choice((signal.SIGTERM, signal.SIGINT)), draw.randint(1, 3 * STEPS)
            opts = WORKERS if number == 3 else []
            yield pytest.param(method, asked, moment, opts, marks=[] if method == "CoOp" and number in (2, 3) else slow)


@pytest.mark.parametrize("method, asked, moment, opts", list(stops()))
def test_stopped_at_a_random_step(runs, ledger, method, asked, moment, opts):
    """The signal reaches the workers too, as job schedulers and terminals send it."""
    run = runs.new(method, *opts)
    with ledger.fault("stop asked for"):
        ending = run.start(training_steps(Moments(lambda detail: os.killpg(0, asked), at=moment)))
        assert ending.status == 128 + asked
        assert ending.err.strip() == f"stopped by {signal.Signals(asked).name}; run the same command to resume"
        assert (run.out / MODEL / NEWEST).is_file()
        ending = run.start()
        step = (moment + 2) // 3
        assert f"after epoch {(step - 1) // 3}, batch {(step - 1) % 3 + 1})" in ending.out
        run.must_end_as_if_nothing_had_happened()
