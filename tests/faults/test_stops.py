"""SIGTERM and Ctrl-C at random steps: the state is saved, and the same command ends as if nothing had happened."""

import json
import os
import random
import signal

import pytest

from mocoop.results.record import FILE_NAME
from mocoop.training.checkpoint import MODEL, NEWEST, load_checkpoint, progress
from mocoop.training.folder_lock import LOCK
from tests.faults.moments import Moments, training_steps
from tests.faults.runs import STEPS, WORKERS
from tests.shipped import STEPPING

slow = pytest.mark.slow


def stops():
    draw = random.Random(0)
    for method in STEPPING:
        for number in range(6):
            asked, moment = (signal.SIGTERM, signal.SIGINT)[number % 2], draw.randint(1, 3 * STEPS)
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
        record = json.loads((run.out / FILE_NAME).read_text())
        assert record["status"] == "failed" and asked.name in record["error"]
        assert not (run.out / LOCK).exists()
        epoch, batch = progress(load_checkpoint(run.out / MODEL / NEWEST))
        assert (epoch, batch) == ((moment - 1) // 9, (moment - 1) // 3 % 3 + 1)
        assert f"after epoch {epoch}, batch {batch})" in run.start().out
        run.must_end_as_if_nothing_had_happened()
