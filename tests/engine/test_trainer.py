import re
import sys

import pytest
import torch

from mocoop.engine.lite.trainer_base import TrainerBase
from mocoop.errors import CheckpointError, ConfigError
from mocoop.training.checkpoint import load_checkpoint

BATCH_LINE = re.compile(
    r"^epoch \[(\d+)/3\] batch \[(\d+)/4\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc 50\.0000 \(50\.0000\) lr (\d\.\d{4}e-\d\d) eta \d+:\d\d:\d\d$"
)


def test_a_run_prints_the_lines_that_scripts_parse(run, capsys):
    run().train()
    lines = capsys.readouterr().out.splitlines()
    found = [BATCH_LINE.match(line) for line in lines if line.startswith("epoch [")]
    assert [match.groups() for match in found] == [
        ("1", "2", "1.0000e-05"), ("1", "4", "5.0000e-02"),
        ("2", "2", "5.0000e-02"), ("2", "4", "3.7500e-02"),
        ("3", "2", "3.7500e-02"), ("3", "4", "1.2500e-02"),
    ]  # fmt: skip
    end = lines[lines.index("Finish training") :]
    assert end[1] == "Deploy the last-epoch model"
    assert end[2] == "Evaluate on the *test* set"
    assert end[3:5] == ["=> result", "* total: 15"]
    assert re.fullmatch(r"\* accuracy: [\d.]+%", end[6])
    assert re.fullmatch(r"Elapsed: 0:00:\d\d", end[-1])


def test_it_learns(run):
    trainer = run("OPTIM.MAX_EPOCH", "8")
    trainer.train()
    assert sum(trainer.losses[-4:]) < 0.5 * sum(trainer.losses[4:8])
    assert trainer.test() > 90.0


def test_same_seed_same_run_and_another_seed_another(run):
    runs = []
    for seed in (1, 1, 2):
        trainer = run("OUTPUT_DIR", f"{run().output_dir}-{len(runs)}", seed=seed)
        trainer.train()
        runs.append((trainer.losses, trainer.paths))
    assert runs[0] == runs[1]
    assert runs[0][1] != runs[2][1]


def test_a_resumed_run_equals_an_unbroken_one(run, tmp_path):
    whole = run("OUTPUT_DIR", str(tmp_path / "whole"))
    whole.train()
    settings = ("OUTPUT_DIR", str(tmp_path / "broken"), "TRAIN.CHECKPOINT_FREQ", "1")
    first = run(*settings)
    stop_in_epoch(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = run(*settings, seed=77)
    second.train()
    assert len(second.losses) == 4  # the last epoch only
    assert second.losses == whole.losses[-4:]
    assert second.paths == whole.paths[-4:]
    assert second.rates == whole.rates[-4:]
    assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), whole.model.parameters()))


def stop_in_epoch(trainer, epoch):
    def interrupt():
        if trainer.epoch == epoch:
            raise KeyboardInterrupt

    trainer.before_epoch = interrupt


def test_best_val_keeps_the_best_model_and_its_result_over_a_resume(run, tmp_path, monkeypatch):
    settings = ("TEST.FINAL_MODEL", "best_val", "TRAIN.CHECKPOINT_FREQ", "1")
    trainer = run(*settings)
    results = iter([60.0, 50.0, 40.0, 99.0])
    monkeypatch.setattr(trainer, "test", lambda split=None: next(results))
    stop_in_epoch(trainer, 2)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = run(*settings)
    monkeypatch.setattr(resumed, "test", lambda split=None: 55.0)
    resumed.train()
    best = load_checkpoint(f"{resumed.output_dir}/toy/model-best.pth.tar")
    assert (best["epoch"], best["val_result"]) == (1, 60.0)
    assert torch.equal(resumed.model[2].weight, best["state_dict"]["2.weight"])


@pytest.mark.parametrize("frequency, epochs", [(0, [3]), (2, [2, 3])])
def test_checkpoints_are_written_when_asked(run, tmp_path, frequency, epochs):
    trainer = run("TRAIN.CHECKPOINT_FREQ", str(frequency), "TEST.NO_TEST", "True")
    trainer.train()
    names = sorted(path.name for path in (tmp_path / "output" / "toy").iterdir())
    assert names == ["checkpoint", *(f"model.pth.tar-{epoch}" for epoch in epochs)]


def test_load_model_for_evaluation(run, capsys):
    trained = run()
    trained.train()
    fresh = run(seed=9)
    fresh.load_model(trained.output_dir, epoch=3)
    assert torch.equal(fresh.model[2].weight, trained.model[2].weight)
    assert "(epoch=3, val_result=none)" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no checkpoint file .*model.pth.tar-8"):
        fresh.load_model(trained.output_dir, epoch=8)
    fresh.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out


def test_resume_folder_without_a_checkpoint_is_an_error(run, tmp_path):
    with pytest.raises(CheckpointError, match="RESUME: no checkpoint in"):
        run("RESUME", str(tmp_path / "nothing")).train()


def test_evaluation_on_the_validation_images(run, capsys):
    trainer = run("TEST.SPLIT", "val", "TEST.PER_CLASS_RESULT", "True")
    capsys.readouterr()
    trainer.test()
    output = capsys.readouterr().out
    assert "Evaluate on the *val* set" in output and "* total: 6" in output
    assert "* class: 0 (red)\ttotal: 2\tcorrect: " in output


def test_without_validation_images_the_test_set_stands_in(run, capsys):
    trainer = run()
    trainer.val_loader = None
    trainer.test(split="val")
    assert "Evaluate on the *test* set" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_the_run(run):
    with pytest.raises(FloatingPointError, match="infinite or NaN"):
        run().model_backward(torch.tensor(float("nan"), requires_grad=True))


def test_training_goes_on_without_tensorboard(run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer = run("OPTIM.MAX_EPOCH", "1")
    trainer.train()
    assert [record.message for record in caplog.records] == [
        "no TensorBoard log is written; to have one: pip install tensorboard"
    ]


def test_tensorboard_log_is_written(run, tmp_path):
    pytest.importorskip("tensorboard")
    run("OPTIM.MAX_EPOCH", "1").train()
    assert list((tmp_path / "output" / "tensorboard").glob("events.*"))


def test_models_by_name():
    trainer = TrainerBase()
    trainer.register_model("a", torch.nn.Dropout())
    trainer.register_model("b", torch.nn.Dropout())
    trainer.set_model_mode("eval", "b")
    assert trainer._models["a"].training and not trainer._models["b"].training
    with pytest.raises(ValueError, match="already registered"):
        trainer.register_model("a")
    with pytest.raises(ValueError, match=r"got models \['c'\], expected names among \['a', 'b'\]"):
        trainer.get_model_names("c")
    with pytest.raises(ValueError, match='got mode "test2"'):
        trainer.set_model_mode("test2")


def test_registering_too_early_is_an_error():
    class Hasty(TrainerBase):
        def __init__(self):
            self.register_model("a")

    with pytest.raises(AttributeError, match="super"):
        Hasty()


def test_unknown_dataset(run):
    with pytest.raises(ConfigError, match='DATASET.NAME: got "Colors", expected one of .*did you mean "Colours"'):
        run("DATASET.NAME", "Colors")
