"""Wherever a checkpoint meets a CLIP, their identity is compared: a moved file is the same CLIP, another is refused."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

import train
from mocoop.backbone import EMBEDDED
from mocoop.cli import main
from mocoop.errors import CheckpointError
from mocoop.results.record import read_record
from mocoop.runs.trained_run import load_run
from mocoop.tiny import load
from tests.results.logs import config_text

LAST = "prompt_learner/model.pth.tar-1"
SHORT = ["OPTIM.MAX_EPOCH", "1"]


def write(path, name="tiny", shift=0.0):
    """The weights of an embedded CLIP as a file of its own."""
    state = {key: value.clone().contiguous() for key, value in load(EMBEDDED[name]).state_dict().items()}
    state["logit_scale"] += shift
    save_file(state, path)
    return path


def last_error(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def of_a_file(runs, tmp_path_factory):
    """A finished run whose CLIP is a file, and a folder in which that file is now, under another name."""
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCOOP_CACHE", "off")
        run = runs.new("CoOp", *SHORT, "MODEL.BACKBONE.NAME", write(folder / "clip.safetensors"))
        assert train.main(run.argv()) == 0
    (folder / "moved").mkdir()
    os.replace(folder / "clip.safetensors", folder / "moved" / "here.safetensors")
    return run, folder


def with_backbone(run, path, *more):
    argv = run.argv()
    argv[argv.index("MODEL.BACKBONE.NAME") + 1] = str(path)
    return [*argv, *more]


def test_checkpoint_and_record_say_which_clip(of_a_file):
    run, folder = of_a_file
    sha256 = torch.load(run.out / LAST, weights_only=True)["method"]["clip_sha256"]
    assert len(sha256) == 64 and read_record(run.out / "result.json")["clip_sha256"] == sha256


def test_a_file_that_moved_is_the_same_clip(of_a_file, capsys):
    run, folder = of_a_file
    moved = folder / "moved" / "here.safetensors"
    assert load_run(run.out, backbone=str(moved)).checkpoint
    assert train.main(with_backbone(run, moved)) == 0
    assert f"finished already: {run.out}" in capsys.readouterr().out
    evaluated = with_backbone(run, moved)
    evaluated[evaluated.index("--output-dir") + 1] = str(folder / "evaluated")
    assert train.main([*evaluated[:8], "--eval-only", "--model-dir", str(run.out), *evaluated[8:]]) == 0


def test_another_file_under_the_same_path_is_another_clip(of_a_file, capsys):
    run, folder = of_a_file
    path = write(folder / "clip.safetensors", shift=0.5)
    with pytest.raises(
        CheckpointError, match=r"trained with MODEL.BACKBONE.NAME .*clip.safetensors' \(weights [0-9a-f]{12}"
    ):
        load_run(run.out)
    assert train.main(run.argv()) == 2
    assert "had weights" in last_error(capsys)
    path.unlink()
    assert train.main(run.argv()) == 0  # finished, and its CLIP is gone: what was measured stands


def test_an_unfinished_run_goes_on_with_a_moved_file_and_not_with_another(runs, tmp_path, capsys, monkeypatch):
    run = runs.new("CoOp", "OPTIM.MAX_EPOCH", "2", "MODEL.BACKBONE.NAME", write(tmp_path / "clip.safetensors"))
    assert train.main(run.argv()) == 0
    record = read_record(run.out / "result.json")
    (run.out / "prompt_learner/model.pth.tar-2").rename(run.out / "prompt_learner/model.pth.tar-1")
    checkpoint = torch.load(run.out / LAST, weights_only=True)
    torch.save(checkpoint | {"epoch": 1}, run.out / LAST)
    kept = {key: record[key] for key in ("format", "method", "dataset", "backbone", "subsample_classes", "shots")}
    kept |= {key: record[key] for key in ("seed", "config", "config_sha256", "command")}
    (run.out / "result.json").write_text(json.dumps(kept | {"status": "running", "error": None}))
    assert train.main(with_backbone(run, write(tmp_path / "other.safetensors", shift=0.5))) == 2
    assert "other.safetensors' (weights" in last_error(capsys)
    os.replace(tmp_path / "clip.safetensors", tmp_path / "moved.safetensors")
    assert train.main(with_backbone(run, tmp_path / "moved.safetensors")) == 0
    assert "will resume training after epoch 1" in capsys.readouterr().out


def test_another_embedded_clip_is_refused_by_each_tool(trained_runs, data_root, tmp_path, capsys):
    run = trained_runs.of("coop")
    image = next((trained_runs.data_root / "shapes_both" / "images").rglob("*.png"))
    commands = [
        ["predict", str(image), "--model", str(run)],
        ["export", str(run), "--to", str(tmp_path / "x")],
        ["interpret", str(run)],
    ]
    for command in commands:
        assert main([*command, "--backbone", "tiny-vit"]) == 2
        assert "was trained with MODEL.BACKBONE.NAME 'tiny' (weights" in last_error(capsys)
    assert not (tmp_path / "x").exists()


def test_an_untrained_run_is_compared_by_its_record(trained_runs):
    with pytest.raises(CheckpointError, match="was trained with MODEL.BACKBONE.NAME"):
        load_run(trained_runs.of("zeroshot"), backbone="tiny-vit")


def test_prompts_of_another_clip_are_a_start_that_is_said(trained_runs, caplog):
    trainer, other = trained_runs.trainer("coop"), load_run(trained_runs.of("coop"))
    trainer._start_from(other.checkpoint)
    assert not any("INIT_WEIGHTS" in line for line in caplog.messages)
    sha256 = trainer.model.clip_model.sha256
    trainer.model.clip_model.sha256 = 64 * "0"
    trainer._start_from(other.checkpoint)
    trainer.model.clip_model.sha256 = sha256
    assert any("INIT_WEIGHTS" in line and "(weights 000000000000)" in line for line in caplog.messages)


def edited(source, target, **method):
    checkpoint = torch.load(source / LAST, weights_only=True)
    made = {key: value for key, value in (checkpoint["method"] | method).items() if value is not None}
    torch.save(checkpoint | {"method": made}, target)
    return target


def test_old_checkpoints_are_compared_by_name(trained_runs, tmp_path, caplog):
    old = edited(trained_runs.of("coop"), tmp_path / "old.pth", clip_sha256=None)
    assert load_run(old).checkpoint
    with pytest.raises(CheckpointError, match="was trained with MODEL.BACKBONE.NAME 'tiny', got 'tiny-vit'"):
        load_run(old, backbone="tiny-vit")
    assert load_run(old, backbone=str(write(tmp_path / "copy.safetensors"))).checkpoint
    assert "copy.safetensors is the same CLIP is not known" in caplog.text


def foreign(trained_runs, root, **logged):
    """A checkpoint as CoOp's own, in CoOp's layout, with the log that says how it was trained."""
    run = root / "base2new/train_base/shapes_both/shots_2/CoOp/tiny_ep1/seed1"
    (run / "prompt_learner").mkdir(parents=True)
    checkpoint = torch.load(trained_runs.of("coop-csc") / LAST, weights_only=True)
    del checkpoint["method"]
    torch.save(checkpoint, run / LAST)
    (run / "prompt_learner" / "checkpoint").write_text("model.pth.tar-1\n")
    (run / "log.txt").write_text(
        config_text(**({"backbone": "tiny", "dataset": "ShapesBoth", "classes": "base"} | logged))
    )
    return run


@pytest.mark.parametrize(
    "logged, message",
    [
        ({"backbone": "tiny-vit"}, "was trained with MODEL.BACKBONE.NAME 'tiny-vit', got 'tiny'"),
        ({"method": "KgCoOp"}, "was trained with TRAINER.NAME 'KgCoOp', got 'CoOp'"),
        ({"classes": "new"}, r"was trained with DATASET.SUBSAMPLE_CLASSES 'new', got 'base'"),
        ({"dataset": "ShapesColor"}, r"was trained with DATASET.NAME 'ShapesColor', got 'ShapesBoth'"),
    ],
)
def test_a_foreign_checkpoint_is_judged_by_its_folder(trained_runs, tmp_path, logged, message):
    trainer = trained_runs.trainer("coop-csc")
    trainer.load_model(str(foreign(trained_runs, tmp_path / "same")))
    with pytest.raises(CheckpointError, match=message):
        trainer.load_model(str(foreign(trained_runs, tmp_path / "other", **logged)))


def test_a_foreign_checkpoint_keeps_the_structure_that_its_log_tells(trained_runs, tmp_path, capsys):
    run = foreign(trained_runs, tmp_path)
    text = (run / "log.txt").read_text()
    told = "TRAINER:\n  COOP:\n    CLASS_TOKEN_POSITION: middle\n    CSC: True\n    CTX_INIT: \n"
    (run / "log.txt").write_text(text.replace("TRAINER:\n", told))
    trainer = trained_runs.trainer("coop-csc")
    trainer.load_model(str(run))
    assert trainer.model.settings.CLASS_TOKEN_POSITION == "middle"
    trainer.load_model(str(trained_runs.of("coop-csc")))


def test_without_a_log_the_name_of_the_settings_tells(trained_runs, tmp_path):
    run = foreign(trained_runs, tmp_path)
    (run / "log.txt").unlink()
    other = run.parent.with_name("rn50_ep50") / "seed1"
    other.parent.mkdir()
    run.rename(other)
    with pytest.raises(CheckpointError, match="was trained with MODEL.BACKBONE.NAME 'RN50', got 'tiny'"):
        trained_runs.trainer("coop-csc").load_model(str(other))
