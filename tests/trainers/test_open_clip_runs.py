"""Runs on small models of open_clip by train.py: trained, used, exported, and refused on another CLIP."""

import numpy as np
import pytest
import torch

import train
from mocoop.export import export_run
from mocoop.images import read_image
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.runs.trained_run import load_run
from tests.export.test_export import logits_elsewhere
from tests.faults.outcomes import must_predict_as_tested
from tests.small_open_clip import Small

TRAINED = {"MaPLe": "scaled", "CoCoOp": "quick_gelu", "CoOp": "siglip"}  # method: model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("open_clip"))


def fitting(small, kind: str) -> list[str]:
    """The overrides that a model needs."""
    images = small.backbone(kind).preprocessing
    prepared = {"SIZE": images.size, "PIXEL_MEAN": list(images.mean), "PIXEL_STD": list(images.std)}
    inputs = [word for key, value in prepared.items() for word in (f"INPUT.{key}", str(value))]
    return ["MODEL.BACKBONE.NAME", f"open_clip:local-dir:{small.folder(kind)}", *inputs]


@pytest.fixture(scope="module")
def trained(runs, small):
    """{method: the folder of its run}"""
    made = {name: runs.new(name, *fitting(small, kind)) for name, kind in TRAINED.items()}
    for run in made.values():
        assert train.main(run.argv()) == 0
    return {name: run.out for name, run in made.items()}


@pytest.mark.parametrize("name", list(TRAINED))
def test_it_trains_is_tested_and_predicts_the_same(trained, runs, small, name):
    record = read_record(trained[name] / "result.json")
    assert record["status"] == "done" and record["zero_shot"]["images"] > 0
    assert record["backbone"] == f"open_clip:local-dir:{small.folder(TRAINED[name])}"
    assert "CLIP: " in (trained[name] / "log.txt").read_text()
    must_predict_as_tested(load_run(trained[name]), trained[name], runs.data)


def test_exports_say_the_same_by_open_clip_alone_and_as_onnx(trained, runs, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    jobs, expected = {}, {}
    for name, folder in trained.items():
        run = load_run(folder)
        export_run(run, tmp_path / name)
        paths = [str(runs.data / path) for path in read_predictions(folder / "predictions.csv")["path"]][:6]
        images = torch.stack([run.transform(read_image(path)) for path in paths])
        jobs[name], expected[name] = (tmp_path / name, paths), run.predict(images)["logits"]
        session = onnxruntime.InferenceSession(str(tmp_path / name / "model.onnx"), providers=["CPUExecutionProvider"])
        found = session.run(["logits"], {"image": images.numpy()})[0]
        assert np.abs(found - expected[name].numpy()).max() < 1e-3, name
    for name, found in logits_elsewhere(jobs, tmp_path).items():
        assert torch.allclose(found, expected[name], atol=1e-3), name  # of logits of up to 100


def test_a_checkpoint_of_one_model_is_refused_on_another_by_name(trained, runs, small, capsys):
    flags = ["--eval-only", "--model-dir", str(trained["MaPLe"])]
    assert train.main(runs.new("MaPLe", *fitting(small, "quick_gelu"), flags=flags).argv()) == 2
    said = capsys.readouterr().err
    assert "was trained with MODEL.BACKBONE.NAME" in said and "scaled" in said and "quick_gelu" in said


def test_images_prepared_in_another_way_are_refused_with_the_overrides(runs, small, capsys):
    model = ["MODEL.BACKBONE.NAME", f"open_clip:local-dir:{small.folder('siglip')}"]
    assert train.main(runs.new("CoOp", *model).argv()) == 2
    said = capsys.readouterr().err
    assert 'set INPUT.SIZE "(160, 160)" INPUT.PIXEL_MEAN "[0.5, 0.5, 0.5]" INPUT.PIXEL_STD "[0.5, 0.5, 0.5]"' in said
    wrong = [*model, "INPUT.SIZE", "(160, 160)"]
    assert train.main(runs.new("ZeroshotCLIP", *wrong).argv()) == 2
    unchecked = runs.new("ZeroshotCLIP", *wrong, "MODEL.BACKBONE.CHECK_INPUT", "False")
    assert train.main(unchecked.argv()) == 0
    assert "INPUT.PIXEL_MEAN is [0.48145466, 0.4578275, 0.40821073]" in (unchecked.out / "log.txt").read_text()


def test_a_method_that_a_tower_cannot_take_is_refused_by_name(runs, small, capsys):
    assert train.main(runs.new("MaPLe", *fitting(small, "siglip")).argv()) == 2
    assert "MaPLe works inside the" in capsys.readouterr().err
