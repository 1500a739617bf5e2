"""Methods of a stranger, with a learned map of image features or a prediction of their own, through all there is.

Each step is a process of its own, so that no plugin is left in this one.
"""

import csv
import os
import runpy
import sys

import numpy as np
import pytest

from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from tests.faults.victims import run as in_own_process
from tests.faults.victims import tool, training
from tests.plugins import LINEAR, MAP, OWN_CLIP, OWN_CLIP_IN_LOSS, PREDICT, plugin_argv, write_plugin
from tests.ranks import run_ranks
from tests.training.test_ranks import must_be_alike

LEARNS = ["OPTIM.LR", "2.0", "OPTIM.WARMUP_EPOCH", "-1"]
BODIES = {"map": MAP, "linear": LINEAR, "predict": PREDICT}
CACHED = ["TEST.FEATURE_CACHE", "True"]


@pytest.fixture(scope="module", params=BODIES)
def kind(request):
    return request.param


of_features_or_not = pytest.mark.parametrize("kind", ["map", "predict"], indirect=True)  # a linear map is a map, too


@pytest.fixture(scope="module")
def plugin(kind, tmp_path_factory):
    return write_plugin(tmp_path_factory.mktemp("plugin"), BODIES[kind])


@pytest.fixture(scope="module")
def made(runs, plugin, tmp_path_factory):
    """A run of the plugin, trained and tested with a cache of features that it begins: (run, its cache)."""
    cache, patch = tmp_path_factory.mktemp("cache"), pytest.MonkeyPatch()
    patch.setenv("MOCOOP_CACHE", str(cache))
    run = runs.new("CoOp", *LEARNS, *CACHED)
    must_succeed(run, plugin)
    patch.undo()
    return run, cache


def must_succeed(run, plugin):
    ending = in_own_process(training(*plugin_argv(run, plugin)), run.out)
    assert ending.status == 0, ending.err
    return ending


def test_what_it_learned_is_tested_as_it_predicts(runs, plugin, made):
    """With the images' features in the cache, without it, and by `mocoop predict`."""
    trained, _ = made
    tested = read_predictions(trained.out / "predictions.csv")
    start = read_predictions(runs.reference("ZeroshotCLIP") / "predictions.csv")
    assert not np.allclose(tested["confidence"], start["confidence"], atol=0.02), "it did learn"
    plain = runs.new("CoOp", *LEARNS)
    must_succeed(plain, plugin)
    found = read_predictions(plain.out / "predictions.csv")
    assert found["prediction"].equals(tested["prediction"])
    assert found["confidence"].tolist() == pytest.approx(tested["confidence"].tolist(), abs=2e-4)
    words = ["predict", "--model", trained.out, runs.data, "--plugin", plugin, "--format", "csv", "--top", "1"]
    ending = in_own_process(tool(*map(str, words)), plain.out)
    assert ending.status == 0, ending.err
    said = {row["path"]: float(row["probability"]) for row in csv.DictReader(ending.out.splitlines())}
    expected = {str(runs.data / path): value for path, value in zip(tested["path"], tested["confidence"])}
    assert {name: said[name] for name in expected} == pytest.approx(expected, abs=1e-3)


@of_features_or_not
def test_others_find_clips_own_features_in_the_cache(runs, kind, made, monkeypatch):
    """What it learned is in none of them: zero-shot CLIP stays what it is."""
    _, cache = made
    monkeypatch.setenv("MOCOOP_CACHE", str(cache))
    other = runs.new("ZeroshotCLIP", *CACHED)
    ending = other.start()
    assert ending.status == 0, ending.err
    held = 0 if kind == "predict" else 24  # a prediction of its own is no matter of features
    assert f"image features: {held} of 24 from the cache" in ending.out
    expected, found = (read_predictions(out / "predictions.csv") for out in (runs.reference("ZeroshotCLIP"), other.out))
    assert found["prediction"].equals(expected["prediction"])
    assert found["confidence"].tolist() == pytest.approx(expected["confidence"].tolist(), abs=1e-5)


@of_features_or_not
def test_it_is_compared_with_zero_shot_clip_and_not_with_itself(runs, made):
    record = read_record(made[0].out / "result.json")
    zero_shot = read_record(runs.reference("ZeroshotCLIP") / "result.json")["metrics"]["accuracy"]
    assert record["zero_shot"]["accuracy"] == pytest.approx(zero_shot)
    assert record["zero_shot"]["method_accuracy"] == pytest.approx(record["metrics"]["accuracy"])


@pytest.mark.parametrize("onnx", [[], ["--no-onnx"]])
def test_it_is_exported_if_its_map_can_be_written(runs, kind, plugin, made, tmp_path, onnx):
    words = ["export", made[0].out, "--to", tmp_path / "x", "--plugin", plugin, *onnx]
    ending = in_own_process(tool(*map(str, words)), tmp_path)
    if kind == "linear":
        assert ending.status == 0, ending.err
        tested = read_predictions(made[0].out / "predictions.csv").iloc[0]
        ending = in_own_process(lambda: example(tmp_path / "x", runs.data / tested["path"]), tmp_path)
        best = float(ending.out.splitlines()[1].split("%")[0])
        assert best == pytest.approx(100 * tested["confidence"], abs=0.06), ending.err  # one decimal is printed
        return
    refusals = {
        "map": "error: Mine cannot be exported: its transform_image is no affine map of the feature",
        "predict": "error: Mine cannot be exported: the logits of its files would differ from its own predictions by",
    }
    assert ending.refusal.startswith(refusals[kind]) and not (tmp_path / "x").exists()


def example(folder, image) -> int:
    """`python example.py IMAGE` in the folder of an export."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = ["example.py", str(image)]
    runpy.run_path("example.py", run_name="__main__")
    return 0


@of_features_or_not
def test_two_ranks_make_the_run_of_one(runs, plugin, made):
    run = runs.new("CoOp", *LEARNS)
    endings = run_ranks(training(*plugin_argv(run, plugin)), 2, run.out.with_name(run.out.name + "-ranks"))
    assert [ending.status for ending in endings] == [0, 0], [ending.err for ending in endings]
    must_be_alike(run.out, made[0].out)


@pytest.mark.parametrize("body", [OWN_CLIP, OWN_CLIP_IN_LOSS])
def test_clips_modules_called_by_itself_among_ranks_are_one_line(runs, tmp_path, body):
    plugin, run = write_plugin(tmp_path, body), runs.new("CoOp")
    endings = run_ranks(training(*plugin_argv(run, plugin)), 2, tmp_path)
    assert [ending.status for ending in endings] == [2, 2]
    (line,) = [line for ending in endings for line in ending.err.splitlines()]
    assert str(plugin) in line and line.startswith("error: ")
    assert "a rank has 2 of the batch's 4 images" in line and "take features from image_features" in line
    one = runs.new("CoOp")
    must_succeed(one, plugin)


def test_a_faulty_loss_is_one_line_at_the_first_step(runs, tmp_path):
    plugin = write_plugin(tmp_path, "    def loss(self, image, label):\n        return {'loss': 1.0}")
    run = runs.new("CoOp")
    ending = in_own_process(training(*plugin_argv(run, plugin)), run.out)
    assert ending.refusal == (
        f"error: the loss of Mine ({plugin}) is 1.0 under 'loss', expected a tensor of one number, without dimensions"
    )
