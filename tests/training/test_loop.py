"""The loop of training: its log lines, its checkpoints, the choice of the best epoch."""

import itertools
import re
import sys
import time
from types import SimpleNamespace

import pytest
import torch

import train
from mocoop.errors import ConfigError
from mocoop.training import loop, run_command
from mocoop.training.checkpoint import load_checkpoint, progress
from mocoop.training.journal import Journal
from tests.trainers.test_train import refused

LINE = re.compile(
    r"^epoch \[(\d+)/3\] batch \[(\d+)/(\d+)\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e-\d\d) eta \d+:\d\d:\d\d$"
)
THREE = ["OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "0.05", "OPTIM.WARMUP_EPOCH", "-1", "TRAIN.PRINT_FREQ", "2"]
FOUR_BATCHES = ["DATALOADER.TRAIN_X.BATCH_SIZE", "3", "TRAIN.CHECKPOINT_FREQ", "0"]  # of twelve images


@pytest.fixture
def build(runs):
    """Builds trainers of one run, with overrides; `build.folder` is the run's."""
    run = runs.new("CoOp", *THREE, *FOUR_BATCHES)

    def build(*opts):
        run_command.set_random_seed(1)
        return run_command.build_trainer(run_command.setup_cfg(train.parse_args([*run.argv(), *opts])))

    build.folder = run.out
    return build


def test_a_run_prints_the_lines_that_scripts_parse(build, capsys):
    build("OPTIM.WARMUP_EPOCH", "1", "OPTIM.WARMUP_CONS_LR", "1e-5").train()
    lines = capsys.readouterr().out.splitlines()
    found = [LINE.match(line) for line in lines if line.startswith("epoch [")]
    assert [match.groups() for match in found] == [
        ("1", "2", "4", "1.0000e-05"), ("1", "4", "4", "5.0000e-02"),
        ("2", "2", "4", "5.0000e-02"), ("2", "4", "4", "3.7500e-02"),
        ("3", "2", "4", "3.7500e-02"), ("3", "4", "4", "1.2500e-02"),
    ]  # fmt: skip
    end = lines[lines.index("Finish training") :]
    assert end[1] == "Deploy the last-epoch model"
    assert end[2] == "Evaluate on the *test* set"
    assert end[3:5] == ["=> result", "* total: 24"]
    assert re.fullmatch(r"\* accuracy: [\d.]+%", end[6])
    assert re.fullmatch(r"Elapsed: 0:00:\d\d", end[-1])


def test_best_val_keeps_the_best_model_and_its_result_over_a_resume(build, monkeypatch):
    settings = ("TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "1")
    trainer, results = build(*settings), iter([60.0, 50.0])
    monkeypatch.setattr(trainer, "test", lambda split=None, **more: next(results))
    with pytest.raises(StopIteration):
        trainer.train()
    resumed = build(*settings)
    monkeypatch.setattr(resumed, "test", lambda split=None, **more: 55.0)
    resumed.train()
    best = load_checkpoint(build.folder / "prompt_learner/model-best.pth.tar")
    assert (best["epoch"], best["val_result"], best["best_result"]) == (1, 60.0, 60.0)
    assert torch.equal(resumed.model.learned_state()["ctx"], best["state_dict"]["ctx"])
    assert (resumed.weights.selection, resumed.weights.epoch) == ("best_val", 1)


def test_the_best_epoch_of_a_run_that_goes_on_from_another_is_one_of_its_own(build, tmp_path, monkeypatch):
    settings = ("TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "1")
    results = iter([60.0, 90.0])
    trainer = build(*settings)
    monkeypatch.setattr(trainer, "test", lambda split=None, **more: next(results))
    with pytest.raises(StopIteration):
        trainer.train()
    resumed = build(*settings, "RESUME", str(build.folder), "OUTPUT_DIR", str(tmp_path / "other"))
    monkeypatch.setattr(resumed, "test", lambda split=None, **more: 55.0)
    resumed.train()
    assert (resumed.weights.selection, resumed.weights.epoch) == ("best_val", 3)
    assert load_checkpoint(tmp_path / "other/prompt_learner/model-best.pth.tar")["val_result"] == 55.0


def test_the_best_epoch_is_neither_chosen_on_test_images_nor_where_a_method_chooses_itself(build, runs, capsys):
    trainer = build("TEST.FINAL_MODEL", "best_val")
    trainer.dm.dataset.val.clear()
    reason = "ShapesBoth has no validation images other than test images"
    with pytest.raises(ConfigError, match=f"TEST.FINAL_MODEL is best_val, expected last_step: {reason}"):
        trainer.train()
    capsys.readouterr()
    argv = runs.new("TipAdapterF", "TEST.FINAL_MODEL", "best_val").argv()
    assert "expected last_step: TipAdapterF chooses on the validation images itself" in refused(capsys, argv)


@pytest.mark.parametrize("frequency, epochs", [(0, [3]), (2, [2, 3])])
def test_checkpoints_are_written_when_asked(build, frequency, epochs):
    build("TRAIN.CHECKPOINT_FREQ", str(frequency), "TEST.NO_TEST", "True").train()
    names = sorted(path.name for path in (build.folder / "prompt_learner").iterdir())
    assert names == ["checkpoint", *(f"model.pth.tar-{epoch}" for epoch in epochs)]
    assert not (build.folder / "result.json").exists()


def test_the_minutes_between_states_pass_over_the_ends_of_epochs(build, monkeypatch):
    """A look at the clock takes a minute, an epoch four looks."""
    saved, minutes = [], itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(time=time.time, monotonic=lambda: 60.0 * next(minutes)))
    monkeypatch.setattr(loop, "save_for_resuming", lambda state, folder: saved.append(progress(state)))
    build("TRAIN.CHECKPOINT_MINUTES", "6.0", "TEST.NO_TEST", "True").train()
    assert saved == [(1, 2), (2, 4)]


def test_evaluation_on_the_validation_images_or_in_their_stead_on_the_test_images(build, capsys):
    trainer = build("TEST.SPLIT", "val", "TEST.PER_CLASS_RESULT", "True")
    capsys.readouterr()
    trainer.test()
    output = capsys.readouterr().out
    assert "Evaluate on the *val* set" in output and "* class: 0 (" in output
    trainer.val_loader = None
    trainer.test(split="val")
    assert "Evaluate on the *test* set" in capsys.readouterr().out


def test_nothing_is_recorded_of_what_was_not_trained(build, caplog):
    assert build().test() > 0
    assert not (build.folder / "result.json").exists()
    assert "nothing was trained or loaded: no record is written" in caplog.text


def test_a_tensorboard_log_is_written_where_it_can_be(build, monkeypatch, caplog):
    journal = Journal(build().cfg, build.folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        journal.start()
    line = "no TensorBoard log is written; to have one: pip install tensorboard"
    assert [record.message for record in caplog.records if "TensorBoard" in record.message] == [line]
    journal.scalar("train/loss", 1.0, 0)
    journal.close()
    assert not (build.folder / "tensorboard").exists()
    pytest.importorskip("tensorboard")
    journal.start()
    journal.scalar("train/loss", 1.0, 0)
    journal.close()
    assert list((build.folder / "tensorboard").glob("events.*"))
