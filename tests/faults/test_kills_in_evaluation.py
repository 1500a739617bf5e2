"""kill -9 in the middle of a test: the test is done again, and no result is taken for one before it is whole."""

import json
import signal

import pytest

from mocoop.results.record import FILE_NAME
from tests.faults.moments import Moments, kill, test_batches
from tests.faults.runs import TEST_BATCHES, WORKERS

slow = pytest.mark.slow


@pytest.mark.parametrize(
    "method, batch, opts",
    [
        ("CoOp", 1, []),
        ("MoCoOp", 2, []),
        pytest.param("CoCoOp", 3, WORKERS, marks=slow),
        pytest.param("CoOp", 2, WORKERS, marks=slow),
        pytest.param("CoCoOp", 1, [], marks=slow),
        pytest.param("MoCoOp", 3, WORKERS, marks=slow),
    ],
)
def test_killed_in_the_final_test(runs, ledger, method, batch, opts):
    run = runs.new(method, *opts)
    with ledger.fault("kill in evaluation"):
        ending = run.start(test_batches(Moments(kill, at=batch)))
        assert ending.status == -signal.SIGKILL, ending.err
        assert json.loads((run.out / FILE_NAME).read_text())["status"] == "running"
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("batch", [1, pytest.param(TEST_BATCHES, marks=slow)])
def test_killed_in_an_evaluation_of_a_trained_model(runs, ledger, batch):
    trained = runs.reference("MoCoOp")
    flags = ["--eval-only", "--model-dir", str(trained), "--load-epoch", "4"]
    whole, broken = (runs.new("MoCoOp", "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags) for _ in range(2))
    assert whole.start().status == 0
    with ledger.fault("kill in evaluation"):
        ending = broken.start(test_batches(Moments(kill, at=batch)))
        assert ending.status == -signal.SIGKILL, ending.err
        broken.must_end_as(whole.out)


@slow
@pytest.mark.parametrize("batch", range(1, 11))
def test_killed_in_a_validation_between_epochs(runs, ledger, batch):
    """The best model by validation is chosen as if nothing had happened."""
    opts = ["TEST.FINAL_MODEL", "best_val", "DATALOADER.TEST.BATCH_SIZE", "3"]
    whole, broken = runs.new("CoOp", *opts), runs.new("CoOp", *opts, "TRAIN.CHECKPOINT_STEPS", "2")
    assert whole.start().status == 0
    with ledger.fault("kill in evaluation"):
        ending = broken.start(test_batches(Moments(kill, at=batch)))
        assert ending.status == -signal.SIGKILL, ending.err
        broken.must_end_as(whole.out)
