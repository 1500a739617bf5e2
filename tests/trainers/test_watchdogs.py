"""Training that goes wrong is stopped, or flagged, and the last good state is kept."""

import json

import train
from mocoop.methods.parts import OnePrompt
from mocoop.results.csv_files import read_history
from mocoop.results.record import FILE_NAME, read_record
from mocoop.training.checkpoint import MODEL, NEWEST, load_checkpoint, progress
from mocoop.training.learner import Precision
from tests.faults.outcomes import differences
from tests.faults.runs import BY_STEPS
from tests.training.test_run_folder import refused


def test_a_loss_that_is_not_finite_names_the_images_and_keeps_the_state(runs, capsys, monkeypatch):
    run, loss, count = runs.new("CoOp", *BY_STEPS), OnePrompt.loss, []

    def broken(self, image, label):
        parts = loss(self, image, label)
        count.append(label)
        return parts if len(count) < 8 else parts | {"loss": parts["loss"] * float("nan")}

    monkeypatch.setattr(OnePrompt, "loss", broken)
    line = refused(capsys, run.argv())
    assert "the loss of epoch 3, batch 2 is not finite (loss nan)" in line and "lower OPTIM.LR" in line
    assert sum(str(path) in line for path in (runs.data / "shapes_both/images").rglob("*.png")) == 4
    record = json.loads((run.out / FILE_NAME).read_text())
    assert (record["status"], f"error: {record['error']}") == ("failed", line)
    assert len(read_history(run.out / "history.csv")) == 7
    monkeypatch.undo()
    assert train.main(run.argv()) == 0  # a retry is the user's choice
    assert differences(run.out, runs.reference("CoOp")) == []


def test_parameters_that_are_not_finite_are_not_saved(runs, capsys, monkeypatch):
    """A loss may be finite whose gradient is not: the state after that step is no good one."""
    run, update, count = runs.new("CoOp", *BY_STEPS), Precision.update, []

    def broken(self, model, *args):
        update(self, model, *args)
        count.append(model)
        if len(count) == 8:
            model.learned_parameters()["ctx"].data[0, 0] = float("inf")

    monkeypatch.setattr(Precision, "update", broken)
    assert "after epoch 3, batch 2 the parameters ctx are not finite" in refused(capsys, run.argv())
    assert progress(load_checkpoint(run.out / MODEL / NEWEST)) == (1, 3)
    monkeypatch.undo()
    assert train.main(run.argv()) == 0
    assert differences(run.out, runs.reference("CoOp")) == []


def test_a_method_that_ends_below_zero_shot_is_flagged(runs, capsys):
    run = runs.new("CoOp", "OPTIM.LR", "20.0")
    assert train.main(run.argv()) == 0
    found = read_record(run.out / FILE_NAME)["zero_shot"]
    assert found["below"] and found["method_accuracy"] < found["accuracy"] and found["images"] == 24
    assert "worse than untrained: " in capsys.readouterr().out
    assert not read_record(runs.reference("CoOp") / FILE_NAME)["zero_shot"]["below"]
