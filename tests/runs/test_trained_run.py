"""Runs loaded from their folders: what they compute, and what is refused."""

import shutil

import pytest
import torch

from mocoop.errors import CheckpointError, ConfigError, DataError
from mocoop.images import read_image
from mocoop.runs.trained_run import load_run

NEW = ["red plain circle", "blue striped star", "green_dotted_square"]


def pictures(trainer, run, count):
    return torch.stack([run.transform(read_image(item.impath)) for item in trainer.dm.dataset.test[:count]])


@pytest.mark.parametrize("name", ["zeroshot", "coop", "coop-csc", "cocoop", "mocoop-vit", "mocoop-random"])
def test_gives_the_logits_of_the_test_loop(trained_runs, name):
    """To the bit; that every method predicts as it was tested is in tests/methods/test_every_method.py."""
    run, trainer = load_run(trained_runs.of(name)), trained_runs.trainer(name)
    batch = next(iter(trainer.test_loader))
    with torch.no_grad():
        expected = trainer.model.predict_features(trainer.model.image_features(batch["img"]))
    images = pictures(trainer, run, len(batch["img"]))
    assert torch.equal(images, batch["img"])
    found = run.predict(images)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert run.classnames == trainer.dm.dataset.classnames


def test_needs_neither_data_nor_the_folder_s_place(trained_runs, tmp_path):
    folder = shutil.copytree(trained_runs.of("mocoop"), tmp_path / "ailleurs é")
    (folder / "result.json").unlink()
    run = load_run(folder)
    assert run.group_names[0] == "photo" and len(run.classnames) == 40
    assert load_run(run.checkpoint).checkpoint == load_run(folder / "prompt_learner").checkpoint == run.checkpoint


@pytest.mark.parametrize("name", ["zeroshot", "coop", "cocoop", "mocoop-vit"])
def test_other_classes(trained_runs, name):
    run = load_run(trained_runs.of(name))
    images = pictures(trained_runs.trainer(name), run, 3)
    before = run.predict(images)["logits"]
    subset = run.with_classes(run.classnames[5:8]).predict(images)["logits"]
    assert torch.allclose(subset, before[:, 5:8], atol=1e-4)
    assert run.with_classes(NEW).predict(images)["logits"].shape == (3, 3)
    assert torch.equal(run.predict(images)["logits"], before)


def test_contexts_of_each_class_have_no_other_classes(trained_runs):
    run = load_run(trained_runs.of("coop-csc"))
    with pytest.raises(ConfigError, match="of which there are 40, and none for other class names, such as"):
        run.with_classes(NEW)
    with pytest.raises(ConfigError, match="of which there are 40"):
        run.with_classes(NEW[:2])
    assert run.with_classes(run.classnames).classnames == run.classnames


@pytest.mark.parametrize(
    "names, message", [([], "expected one or more"), (["a", " "], "none of them empty"), (["a", "b", "a"], "'a' more")]
)
def test_useless_class_names_are_refused(trained_runs, names, message):
    with pytest.raises(ConfigError, match=message):
        load_run(trained_runs.of("coop")).with_classes(names)


def test_words_never_trained_are_named(trained_runs, caplog):
    load_run(trained_runs.of("coop")).with_classes(["Bernese mountain dog"])
    assert "has never seen these words" in caplog.text and "Bernese" in caplog.text


def test_the_best_by_validation_is_what_was_deployed(trained_runs, tmp_path):
    folder = shutil.copytree(trained_runs.of("coop"), tmp_path / "run") / "prompt_learner"
    shutil.copy(folder / "model.pth.tar-1", folder / "model-best.pth.tar")
    assert load_run(folder.parent).checkpoint.name == "model-best.pth.tar"
    assert load_run(folder.parent, epoch=1).checkpoint.name == "model.pth.tar-1"
    with pytest.raises(CheckpointError, match="model.pth.tar-7, found model-best"):
        load_run(folder.parent, epoch=7)
    with pytest.raises(ConfigError, match="got epoch 1 with the checkpoint file"):
        load_run(folder / "model.pth.tar-1", epoch=1)


def edited(source, target, change):
    """A copy of a run's last checkpoint after `change(checkpoint)`."""
    checkpoint = torch.load(source / "prompt_learner" / "model.pth.tar-1", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, target)
    return target


def test_keys_of_another_version_are_left_out(trained_runs, tmp_path):
    def change(checkpoint):
        checkpoint["method"]["config"]["TRAINER"]["MAPLE"] = {"DEPTH": 9}
        del checkpoint["method"]["config"]["TEST"]

    assert load_run(edited(trained_runs.of("mocoop"), tmp_path / "other.pth", change)).group_names[0] == "photo"


def test_a_backbone_that_moved(trained_runs, tmp_path):
    def change(checkpoint):
        checkpoint["method"]["config"]["MODEL"]["BACKBONE"]["NAME"] = "gone/ViT.pt"

    path = edited(trained_runs.of("coop"), tmp_path / "moved.pth", change)
    with pytest.raises(ConfigError, match="no CLIP 'gone/ViT.pt'.*--backbone"):
        load_run(path)
    assert load_run(path, backbone="tiny").cfg.MODEL.BACKBONE.NAME == "tiny"


def test_what_is_no_run_is_refused(trained_runs, tmp_path):
    for path, message in [(tmp_path, "no run in"), (tmp_path / "x", "no run .*x, expected the folder")]:
        with pytest.raises(CheckpointError, match=message):
            load_run(path)
    nameless = edited(trained_runs.of("coop"), tmp_path / "coop.pth", lambda checkpoint: checkpoint.pop("method"))
    with pytest.raises(CheckpointError, match="does not say which method"):
        load_run(nameless)
    trained_runs.trainer("mocoop").test()
    with pytest.raises(CheckpointError, match="an evaluation of MoCoOp and holds no weights"):
        load_run(trained_runs.folder / "mocoop-evaluated")
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(DataError, match="got format None"):
        load_run(tmp_path)


@pytest.mark.parametrize("device", ["tpu9", "cuda:77"])
def test_a_device_that_is_not_there(trained_runs, device):
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
        load_run(trained_runs.of("coop"), device=device)
