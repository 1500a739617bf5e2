"""Runs that an earlier version (dfd64dc) wrote: they load, go on to the same end, are evaluated and enter tables.

tests/fixtures/old_runs holds CoOp and MoCoOp of tests/faults/runs.py: whole runs, their tests on new classes, and the
same runs with the state that was saved after the sixth of twelve steps.
"""

import shutil
from pathlib import Path

import pytest
import torch

import train
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.results.runs import collect, runs_of
from mocoop.results.tables import protocol_tables
from mocoop.runs.trained_run import load_run
from mocoop.training.checkpoint import load_checkpoint
from tests.faults.outcomes import must_predict_as_tested

OLD = Path(__file__).parents[1] / "fixtures/old_runs"
METHODS = sorted(path.name for path in (OLD / "broken").iterdir())


def whole(method: str, phase: str = "train_base") -> Path:
    return OLD / f"base2new/{phase}/shapes_both/shots_2/{method}/tiny/seed1"


@pytest.mark.parametrize("method", METHODS)
def test_one_that_was_killed_goes_on_to_the_same_end(runs, tmp_path, method):
    run = runs.new(method)
    run.out = tmp_path / "run"
    shutil.copytree(OLD / "broken" / method, run.out)
    assert train.main(run.argv()) == 0
    assert "will resume training after epoch 1, batch 3" in (run.out / "log.txt").read_text()
    new, old = (load_checkpoint(folder / "prompt_learner/model.pth.tar-4") for folder in (run.out, whole(method)))
    assert new["state_dict"].keys() == old["state_dict"].keys()
    for name, value in old["state_dict"].items():
        assert torch.allclose(new["state_dict"][name], value, rtol=0, atol=1e-6), name
    for key in ("accuracy", "macro_f1"):
        ours, theirs = (read_record(folder / "result.json")["metrics"][key] for folder in (run.out, whole(method)))
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_loads_and_predicts_as_it_did(runs, method):
    must_predict_as_tested(load_run(whole(method)), whole(method), runs.data)


@pytest.mark.parametrize("method", METHODS)
def test_one_is_evaluated_on_new_classes_as_it_was(runs, tmp_path, method):
    flags = ["--eval-only", "--model-dir", str(whole(method)), "--load-epoch", "4"]
    run = runs.new(method, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)
    run.out = tmp_path / "new"
    assert train.main(run.argv()) == 0
    now, then = (read_predictions(folder / "predictions.csv") for folder in (run.out, whole(method, "test_new")))
    assert now["prediction"].tolist() == then["prediction"].tolist()


OF_OTHERS = [["TRAINER.MOCOOP.TOP_K", "1"], ["TRAINER.MOCOOP.GROUPS", "[['a dark photo of a {}.']]"]]
AGAIN = [*((method, []) for method in METHODS), *(("CoOp", settings) for settings in OF_OTHERS)]


@pytest.mark.parametrize("method, opts", AGAIN)
def test_a_finished_one_is_not_run_again_nor_where_settings_of_others_changed(runs, tmp_path, capsys, method, opts):
    run = runs.new(method, *opts)
    run.out = tmp_path / "run"
    shutil.copytree(whole(method), run.out)
    assert train.main(run.argv()) == 0
    assert "finished already" in capsys.readouterr().out


def test_they_enter_tables_and_are_joined():
    found = collect(OLD)
    frame = found.frame[found.frame["protocol"] == "base2new"]
    (table, *_) = protocol_tables(runs_of(frame, "base2new"), "base2new")
    assert len(frame) == 2 * len(METHODS) and frame["accuracy"].notna().all()
    assert [row[1] for row in table.rows] == METHODS
