"""An exported folder, used by a process that can import neither this library nor Dassl, and by ONNX Runtime."""

import copy
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mocoop.backbone import load_clip
from mocoop.errors import ConfigError
from mocoop.export import export_run
from mocoop.images import read_image
from mocoop.methods import get_method
from mocoop.results.csv_files import read_predictions
from mocoop.runs.trained_run import load_run
from tests.faults.runs import METHODS
from tests.small_clip import in_fp64
from tests.trained import METHODS as VARIED
from tests.trained import SPLIT

# For each (folder, images, file) of the jobs in argv[1]: the images' logits by the folder's own code, to the file.
ELSEWHERE = """
import json, sys
sys.modules["mocoop"] = sys.modules["dassl"] = None  # importing them fails
import torch
from PIL import Image
torch.set_num_threads(1)
for folder, paths, out in json.load(open(sys.argv[1])):
    sys.path.insert(0, folder)
    for name in ("example", "load_model"):
        sys.modules.pop(name, None)
    from example import logits
    from load_model import load
    model, weights, info, preprocess = load()
    images = [preprocess(Image.open(path).convert("RGB")) for path in paths]
    parts = [logits(model, weights, info, torch.stack(images[i : i + 100])) for i in range(0, len(images), 100)]
    torch.save(torch.cat(parts), out)
"""
NEW = ["black plain ring", "white_striped star"]
REFUSED = ("MMA", "DePT", "CoPrompt", "MMRL", "MMRLpp", "ProLIP", "PromptKD", "TAC")
VARIANTS = ["zeroshot", "coop", "coop-csc", "cocoop", "mocoop", "mocoop-vit", "mocoop-random"]  # of tests/trained.py
EXPORTED = [*VARIANTS, *(name for name in METHODS if name not in REFUSED and name.lower() not in VARIANTS)]


def graph_of(name: str) -> tuple:
    """What an ONNX graph is made from: methods that have all of it in common differ in its numbers alone."""
    method = get_method(VARIED[name][0] if name in VARIANTS else name)
    build = method.build
    return method.export, build.image_parts, build.transform_image, build.predict_features, name == "mocoop"


GRAPHS = {graph_of(name): name for name in reversed(EXPORTED)}.values()


@pytest.fixture(scope="module")
def source(runs, trained_runs):
    """The folder of a run by name, and the root of its images."""

    def of(name):
        if name in VARIANTS:
            return trained_runs.of(name), trained_runs.data_root
        return runs.reference(name), runs.data

    return of


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """(run, its exported folder) by name."""

    @functools.cache
    def export(name):
        run, folder = load_run(source(name)[0]), tmp_path_factory.mktemp("exports") / name
        export_run(run, folder, onnx=False)
        return run, folder

    return export


def images_of(source, name):
    """Some two dozen test images, and the labels that the run's own test gave them."""
    folder, root = source(name)
    frame = read_predictions(folder / "predictions.csv")
    frame = frame[:: len(frame) // 24]
    return [str(root / path) for path in frame["path"]], frame["prediction"].tolist()


def whole_test_set(trained_runs, classnames):
    split = json.loads((trained_runs.whole_root / "shapes_both" / SPLIT).read_text(encoding="utf-8"))
    images = trained_runs.whole_root / "shapes_both/images"
    return [str(images / path) for path, _, name in split["test"] if name in classnames]


def logits_elsewhere(jobs, place):
    """{name: logits} of {name: (folder, images)}, by a process that cannot import what the runs were made with."""
    listed = [(str(folder), paths, str(place / f"{name}.pt")) for name, (folder, paths) in jobs.items()]
    (place / "jobs.json").write_text(json.dumps(listed))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE, "jobs.json"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: torch.load(place / f"{name}.pt", weights_only=True) for name in jobs}


def logits_here(run, paths):
    images = [run.transform(read_image(path)) for path in paths]
    parts = [run.predict(torch.stack(images[i : i + 100]))["logits"] for i in range(0, len(images), 100)]
    return torch.cat(parts)


def clip_by_name(folder, place):
    """The export made to name its CLIP, a state dict in the place of the file that `clip.load` would download."""
    named = shutil.copytree(folder, place / "by-name")
    torch.save(load_file(named / "backbone.safetensors"), place / "clip.pt")
    (named / "backbone.safetensors").unlink()
    info = json.loads((named / "model.json").read_text())
    info["backbone"] = {"name": str(place / "clip.pt"), "included": False}
    (named / "model.json").write_text(json.dumps(info))
    return named


@pytest.mark.parametrize("name", EXPORTED)
def test_it_is_exported(exported, name):
    run, folder = exported(name)
    description = json.loads((folder / "model.json").read_text())
    assert description["method"] == run.cfg.TRAINER.NAME
    assert sorted(description["files"]) == sorted(path.name for path in folder.iterdir())


def test_elsewhere_it_says_the_same(trained_runs, source, exported, tmp_path):
    names = [name for name in EXPORTED if name != "coop"]
    jobs = {name: (exported(name)[1], images_of(source, name)[0]) for name in names}
    jobs["cocoop"] = (jobs["cocoop"][0], jobs["cocoop"][1][::4])  # encodes all prompts, 77 positions, for every image
    run = exported("mocoop-vit")[0]
    jobs["mocoop-vit"] = (jobs["mocoop-vit"][0], whole_test_set(trained_runs, run.classnames))
    jobs["by name"] = (clip_by_name(jobs["mocoop"][0], tmp_path), jobs["mocoop"][1])
    other = exported("mocoop")[0].with_classes(NEW)
    export_run(other, tmp_path / "new", onnx=False)
    jobs["new"] = (tmp_path / "new", jobs["mocoop"][1])

    found = logits_elsewhere(jobs, tmp_path)
    for name in names:
        expected = logits_here(exported(name)[0], jobs[name][1])
        assert torch.equal(found[name].argmax(-1), expected.argmax(-1)), name
        assert torch.allclose(found[name], expected, atol=1e-4), name
    assert len(found["mocoop-vit"]) == 1000
    assert found["mocoop"].argmax(-1).tolist() == images_of(source, "mocoop")[1]
    assert torch.equal(found["by name"], found["mocoop"])
    assert torch.allclose(found["new"], logits_here(other, jobs["new"][1]), atol=1e-4)
    assert json.loads((tmp_path / "new/classes.json").read_text(encoding="utf-8")) == NEW


def test_the_example_prints_classes(source, exported):
    run, folder = exported("cocoop")
    paths, _ = images_of(source, "cocoop")
    done = subprocess.run([sys.executable, "example.py", paths[0]], cwd=folder, capture_output=True, text=True)
    first, *rest = done.stdout.splitlines()
    assert first == paths[0] and len(rest) == 5 and rest[0].split(" %  ")[1] in run.classnames, done.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_other_weights_in_clip_and_a_product_of_features_is_refused(runs, tmp_path, name):
    with pytest.raises(ConfigError, match=f"^{name} cannot be exported: "):
        export_run(load_run(runs.reference(name)), tmp_path / "x", onnx=False)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", GRAPHS)
def test_onnx_gives_the_logits_for_any_batch(source, exported, tmp_path, name):
    """Of one method for each graph; what every export says is compared above."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    run, _ = exported(name)
    export_run(run, tmp_path / "x", with_backbone=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "x/model.onnx"), providers=["CPUExecutionProvider"])
    paths, _ = images_of(source, name)
    images = torch.stack([run.transform(read_image(path)) for path in paths[::2]])
    for batch in images.split([1, 7, len(images) - 8]):
        found = session.run(["logits"], {"image": batch.numpy()})[0]
        expected = run.predict(batch)["logits"].numpy()
        assert np.abs(found - expected).max() < 1e-4
        assert np.array_equal(found.argmax(1), expected.argmax(1))


def test_merged_updates_make_a_clip_that_needs_nothing_else(exported):
    """Both towers of plain CLIP, with the weights of the export, give the logits of the method: in fp64, in which only
    the rounding of the exported weights is left."""
    run, folder = exported("CLIPLoRA")
    tuned = {n.removeprefix("clip."): v for n, v in load_file(folder / "model.safetensors").items() if n[:5] == "clip."}
    assert len(tuned) == 2 + 4  # blocks of the text tower and of the image tower
    plain, method = in_fp64(load_clip(run.cfg)), copy.deepcopy(run.method)
    plain.load_state_dict(tuned, strict=False)
    in_fp64(method.clip_model)
    images = torch.randn(20, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = (plain.encode_image(images), plain.encode_text(method.layout.tokens))
        image, text = (feature / feature.norm(dim=-1, keepdim=True) for feature in features)
        found, expected = plain.logit_scale.exp() * image @ text.t(), method.double()(images)
    assert (found - expected).abs().max() < 1e-5
    start = in_fp64(load_clip(run.cfg)).state_dict()
    assert all((value - start[name]).abs().max() > 1e-6 for name, value in tuned.items())


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
    export_run(run, tmp_path, onnx=False)
    info = json.loads((tmp_path / "model.json").read_text())
    assert sorted(info["files"]) == sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "model.onnx").write_text("of the export")
    (tmp_path / "model.json").write_text(
        json.dumps(info | {"files": [*info["files"], "model.onnx", "../other", "mine.txt"]})
    )
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files already.*--force"):
        export_run(run, tmp_path, onnx=False)
    export_run(run, tmp_path, onnx=False, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine" and not (tmp_path / "model.onnx").exists()
    assert json.loads((tmp_path / "model.json").read_text())["files"] == info["files"]
    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        export_run(run, tmp_path / "mine.txt")


@pytest.mark.parametrize("content", [None, "{}", "[]", "{", '{"files": 3}', '{"files": [[]]}'])
def test_force_replaces_an_export_and_nothing_else(exported, trained_runs, tmp_path, content):
    """What lies in the folder of a project may be called as an export's files are."""
    run, _ = exported("coop")
    files = {"README.md": "mine"} | ({} if content is None else {"model.json": content})
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="holds files, and none of an export; --force replaces an earlier export and"):
        export_run(run, tmp_path, onnx=False, force=True, card_of=trained_runs.of("coop"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_force_leaves_alone_what_was_put_beside_an_export(exported, trained_runs, tmp_path):
    run, _ = exported("coop")
    export_run(run, tmp_path, onnx=False)
    (tmp_path / "README.md").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="README.md is not of the export in its folder, and --force replaces nothing"):
        export_run(run, tmp_path, onnx=False, force=True, card_of=trained_runs.of("coop"))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_onnx_is_asked_for_before_anything_is_written(exported, tmp_path, monkeypatch):
    run, _ = exported("coop")
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(ConfigError, match="pip install onnx onnxruntime, or pass --no-onnx"):
        export_run(run, tmp_path / "new")
    assert not (tmp_path / "new").exists()
