"""An exported folder, used by a process that can import neither this library nor Dassl, and by ONNX Runtime."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mocoop.engine import read_image
from mocoop.errors import ConfigError
from mocoop.export import export_run
from mocoop.results.predictions import read_predictions
from mocoop.trained_run import load_run
from tests.trained import METHODS

# Runs in the exported folder: logits of the images listed in argv[1], to argv[2].
ELSEWHERE = """
import json, sys
sys.modules["mocoop"] = sys.modules["dassl"] = None  # importing them fails
import torch
from PIL import Image
from example import load, logits
torch.set_num_threads(1)
model, weights, info, preprocess = load()
images = [preprocess(Image.open(path).convert("RGB")) for path in json.load(open(sys.argv[1]))]
parts = [logits(model, weights, info, torch.stack(images[i : i + 100])) for i in range(0, len(images), 100)]
torch.save(torch.cat(parts), sys.argv[2])
"""


@pytest.fixture(scope="module")
def exported(trained_runs, tmp_path_factory):
    """(run, its exported folder) by name."""
    done = {}

    def export(name):
        if name not in done:
            run, folder = load_run(trained_runs.of(name)), tmp_path_factory.mktemp("exports") / name
            export_run(run, folder, onnx=False)
            done[name] = run, folder
        return done[name]

    return export


def images_of(trained_runs, name):
    frame = read_predictions(trained_runs.of(name) / "predictions.csv")
    return frame, [str(trained_runs.data_root / path) for path in frame["path"]]


def logits_elsewhere(folder, paths, tmp_path):
    (tmp_path / "paths.json").write_text(json.dumps(paths))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "paths.json"), str(tmp_path / "logits.pt")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(tmp_path / "logits.pt", weights_only=True)


@pytest.mark.parametrize(
    "name, images", [("mocoop-vit", 1000), ("zeroshot", 60), ("cocoop", 20), ("mocoop-random", 60)]
)
def test_elsewhere_it_says_the_same(trained_runs, exported, tmp_path, name, images):
    run, folder = exported(name)
    frame, paths = images_of(trained_runs, name)
    found = logits_elsewhere(folder, paths[:images], tmp_path)
    assert len(found) == images
    assert found.argmax(-1).tolist() == frame["prediction"].tolist()[:images]
    some = slice(None, None, max(1, images // 20))
    expected = run.predict(torch.stack([run.transform(read_image(path)) for path in paths[:images][some]]))["logits"]
    assert torch.allclose(found[some], expected, atol=1e-4)


def test_clip_by_name_through_plain_clip_load(trained_runs, exported, tmp_path):
    """A CLIP that is not in the folder; a state dict of OpenAI's form stands for the file that would be downloaded."""
    run, folder = exported("mocoop")
    copy = tmp_path / "copy"
    export_run(run, copy, onnx=False)
    torch.save(load_file(copy / "backbone.safetensors"), tmp_path / "clip.pt")
    (copy / "backbone.safetensors").unlink()
    info = json.loads((copy / "model.json").read_text())
    info["backbone"] = {"name": str(tmp_path / "clip.pt"), "included": False}
    (copy / "model.json").write_text(json.dumps(info))
    frame, paths = images_of(trained_runs, "mocoop")
    assert logits_elsewhere(copy, paths[:60], tmp_path).argmax(-1).tolist() == frame["prediction"].tolist()[:60]


def test_the_example_prints_classes(exported, tmp_path, trained_runs):
    run, folder = exported("cocoop")
    _, paths = images_of(trained_runs, "cocoop")
    done = subprocess.run([sys.executable, "example.py", paths[0]], cwd=folder, capture_output=True, text=True)
    first, *rest = done.stdout.splitlines()
    assert first == paths[0] and len(rest) == 5 and rest[0].split(" %  ")[1] in run.classnames, done.stderr


def test_new_class_names(trained_runs, exported, tmp_path):
    run, _ = exported("mocoop")
    names = ["black plain ring", "white_striped star"]
    other = run.with_classes(names)
    export_run(other, tmp_path / "other", onnx=False)
    _, paths = images_of(trained_runs, "mocoop")
    found = logits_elsewhere(tmp_path / "other", paths[:5], tmp_path)
    images = torch.stack([run.transform(read_image(path)) for path in paths[:5]])
    assert torch.allclose(found, other.predict(images)["logits"], atol=1e-4)
    assert json.loads((tmp_path / "other/classes.json").read_text(encoding="utf-8")) == names


@pytest.mark.parametrize("name", [name for name in METHODS if name != "mocoop-random"])
def test_onnx_gives_the_logits_for_any_batch(trained_runs, exported, tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    run, _ = exported(name)
    export_run(run, tmp_path / "x", with_backbone=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "x/model.onnx"), providers=["CPUExecutionProvider"])
    _, paths = images_of(trained_runs, name)
    images = torch.stack([run.transform(read_image(path)) for path in paths[::40]])
    for batch in images.split([1, 7, len(images) - 8]):
        found = session.run(["logits"], {"image": batch.numpy()})[0]
        expected = run.predict(batch)["logits"].numpy()
        assert np.abs(found - expected).max() < 1e-4
        assert np.array_equal(found.argmax(1), expected.argmax(1))


def test_tensors_are_what_was_learned(exported):
    run, folder = exported("mocoop-vit")
    tensors = load_file(folder / "model.safetensors")
    plain = {"scale": (), "text_features": (9, 40, 128), "router.weight": (9, 128), "router.bias": (9,)}
    assert {name: tuple(tensors[name].shape) for name in plain} == plain
    tuned = {name for name in tensors if name.startswith("clip.")}
    assert tuned and all(name.startswith("clip.visual.") and (".ln_1." in name or ".ln_2." in name) for name in tuned)
    before = load_file(folder / "backbone.safetensors")
    assert all(before[name.removeprefix("clip.")].dtype == torch.float16 for name in tuned)
    assert any(not torch.equal(before[name.removeprefix("clip.")].float(), tensors[name]) for name in tuned)
    info = json.loads((folder / "model.json").read_text())
    assert info["experts"] == run.group_names and info["top_k"] == 2 and info["preprocess"]["size"] == [64, 64]


def test_a_folder_in_use_is_left_alone(exported, tmp_path):
    run, _ = exported("coop")
    (tmp_path / "model.onnx").write_text("of an earlier export")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files already.*--force"):
        export_run(run, tmp_path, onnx=False)
    export_run(run, tmp_path, onnx=False, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine" and not (tmp_path / "model.onnx").exists()
    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        export_run(run, tmp_path / "mine.txt")


def test_onnx_is_asked_for_before_anything_is_written(exported, tmp_path, monkeypatch):
    run, _ = exported("coop")
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(ConfigError, match="pip install onnx onnxruntime, or pass --no-onnx"):
        export_run(run, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_preprocessing_that_cannot_be_told(exported, tmp_path):
    run, _ = exported("coop")
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.INPUT.TRANSFORMS = ["normalize", "instance_norm"]
    with pytest.raises(ConfigError, match="instance_norm"):
        export_run(dataclasses.replace(run, cfg=cfg), tmp_path / "new", onnx=False)
