"""Runs that are broken off and go on, to the same bits; what kills at random moments do to them is in tests/faults."""

import os
import signal

import pytest

import train
from mocoop.results.csv_files import read_history
from mocoop.results.record import FILE_NAME, read_record
from mocoop.training.checkpoint import MODEL, NEWEST, PREVIOUS, load_checkpoint, progress
from mocoop.training.features import RunFeatures
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.moments import test_batches as batches_of_the_test
from tests.faults.outcomes import differences
from tests.faults.runs import BY_STEPS, BY_TIME
from tests.training.test_run_folder import refused


def at_step(number: int, deed):
    return training_steps(Moments(deed, at=3 * number))


@pytest.mark.parametrize(
    "opts, newest, previous",
    [(BY_STEPS, (2, 2), (1, 3)), (BY_TIME, (2, 2), (2, 1)), (["TRAIN.PRINT_FREQ", "1"], None, None)],
)
def test_states_are_saved_in_mid_epoch_by_steps_and_by_minutes(runs, opts, newest, previous):
    run = runs.new("CoOp", *opts)
    assert run.start(training_steps(Moments(kill, at=25))).status == -signal.SIGKILL  # before the ninth step
    folder = run.out / MODEL
    found = [
        progress(load_checkpoint(folder / name)) if (folder / name).is_file() else None for name in (NEWEST, PREVIOUS)
    ]
    assert found == [newest, previous]
    if newest:
        assert len(read_history(run.out / "history.csv")) == 8  # on the disk with the state


def test_a_finished_training_leaves_no_state_of_its_epochs(runs):
    folder = runs.reference("CoOp") / MODEL
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "model.pth.tar-2", "model.pth.tar-4"]


def test_a_stop_in_the_test_keeps_the_training(runs):
    run = runs.new("CoOp")
    ending = run.start(batches_of_the_test(Moments(lambda detail: os.kill(os.getpid(), signal.SIGTERM), at=2)))
    assert ending.status == 143 and "stopped by SIGTERM" in ending.err
    ending = run.start()
    assert ending.status == 0 and "epoch [" not in ending.out
    assert differences(run.out, runs.reference("CoOp")) == []


def test_stops_in_validation_leave_the_finished_epoch(runs):
    """Three batches each time: the second epoch's validation is stopped twice, then the last one's."""
    opts = ["TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "0", "DATALOADER.TEST.BATCH_SIZE", "2"]
    whole, run = runs.new("CoOp", *opts), runs.new("CoOp", *opts)
    assert whole.start().status == 0
    for at, epoch in ((5, 1), (2, 1), (7, 3)):
        ending = run.start(batches_of_the_test(Moments(lambda detail: os.kill(os.getpid(), signal.SIGTERM), at=at)))
        assert ending.status == 143 and progress(load_checkpoint(run.out / MODEL / NEWEST)) == (epoch, 3)
    run.must_end_as(whole.out)


def stop_at_features(name: str):
    """A signal before the features of the training or the validation images are collected."""

    def fault():
        collect = getattr(RunFeatures, name)

        def stopped(self, *args):
            os.kill(os.getpid(), signal.SIGTERM)
            return collect(self, *args)

        setattr(RunFeatures, name, stopped)

    return fault


@pytest.mark.parametrize("method, steps", [("TipAdapter", 0), ("TipAdapterF", 3)])
def test_a_stop_while_features_are_collected_loses_no_step(runs, method, steps):
    run = runs.new(method)
    for name, state in (("training", None), ("validation", (3, steps))):
        ending = run.start(stop_at_features(name))
        assert ending.status == 143 and "stopped by SIGTERM" in ending.err
        newest = run.out / MODEL / NEWEST
        assert (progress(load_checkpoint(newest)) if newest.is_file() else None) == state
    run.must_end_as_if_nothing_had_happened()


def test_training_goes_on_from_another_folder_and_then_from_its_own_state(runs, tmp_path, capsys):
    run = runs.new("CoOp", "OPTIM.MAX_EPOCH", "6", flags=["--resume", str(runs.reference("CoOp"))])
    ending = run.start(at_step(5, lambda detail: os.kill(os.getpid(), signal.SIGTERM)))
    assert ending.status == 143 and "will resume training after epoch 4, batch 0" in ending.out
    ending = run.start()
    assert ending.status == 0 and "will resume training after epoch 5, batch 2" in ending.out
    assert read_record(run.out / FILE_NAME)["epoch"] == 6
    assert read_history(run.out / "history.csv")["epoch"].unique().tolist() == [5, 6]
    run = runs.new("CoOp", flags=["--resume", str(runs.reference("CoOp"))])
    assert "is from after epoch 4, batch 0, expected a state from before the end of 4 epochs" in refused(
        capsys, run.argv()
    )
    run = runs.new("CoOp", flags=["--resume", str(tmp_path)])
    assert f"no checkpoint in {tmp_path / MODEL}" in refused(capsys, run.argv())


def test_an_average_over_epochs_does_not_go_on_in_a_training_of_another_length(runs, capsys):
    run = runs.new("PromptSRC", "OPTIM.MAX_EPOCH", "6", flags=["--resume", str(runs.reference("PromptSRC"))])
    assert "is of a training of 4 epochs, got 6: PromptSRC averages" in refused(capsys, run.argv())


def test_a_state_with_more_batches_than_an_epoch_has_is_refused(runs, capsys):
    stopped = runs.new("CoOp")
    stopped.start(at_step(5, lambda detail: os.kill(os.getpid(), signal.SIGTERM)))
    run = runs.new("CoOp", "DATALOADER.TRAIN_X.BATCH_SIZE", "12", flags=["--resume", str(stopped.out)])
    assert "is from after epoch 1, batch 2, expected a state from before the end of 4 epochs of at most 1" in refused(
        capsys, run.argv()
    )


def test_differences_are_seen(runs):
    """What the comparisons here and in tests/faults rest on."""
    run = runs.new("CoOp", "SEED", "2")
    assert train.main(run.argv()) == 0
    found = " ".join(differences(run.out, runs.reference("CoOp")))
    for part in ("/record/metrics", "/history", "/predictions", "model.pth.tar-4/state_dict/ctx", "/optimizer/"):
        assert part in found
