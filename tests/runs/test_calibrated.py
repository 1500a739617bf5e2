"""`mocoop calibrate`: a temperature of the training images alone, and what it does to a test's confidence."""

import json
import shutil

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from mocoop.errors import DataError
from mocoop.results.calibration import read_calibration
from mocoop.results.metrics import compute_metrics
from mocoop.results.record import read_record
from mocoop.runs.scores import FinishedRun, scores_of
from mocoop.runs.trained_run import load_run
from tests.tools.tool import Tool


@pytest.fixture
def calibrate(capsys):
    return Tool("calibrate", capsys)


def test_it_is_fitted_on_the_training_images(trained_runs, tmp_path, calibrate, caplog):
    folder = shutil.copytree(trained_runs.of("coop"), tmp_path / "coop")
    caplog.set_level("INFO", "mocoop.methods")
    caplog.clear()  # what was said while it was trained
    status, out, _ = calibrate(folder)
    assert not [record for record in caplog.records if record.name.startswith("mocoop.methods")]
    assert status == 0 and "CoOp on ShapesBoth, base classes, seed 1" in out and "80 training images" in out
    record = read_record(folder / "result.json")
    found = read_calibration(folder, record["weights_sha256"])
    data = trained_runs.data_root / "shapes_both"
    lines = (data / "split_fewshot/shot_2-seed_1.jsonl").read_text().splitlines()
    items = [item for item in map(json.loads, lines) if item["split"] == "train"]
    run = load_run(folder)
    items = [item for item in items if item["classname"] in run.classnames]  # base classes
    images = [run.transform(run.read_image(data / "images" / item["path"])) for item in items]
    logits = run.predict(torch.stack(images))["logits"].double()
    labels = torch.tensor([run.classnames.index(item["classname"]) for item in items])
    best = minimize_scalar(lambda t: float(F.cross_entropy(logits / t, labels)), bounds=(0.05, 20), method="bounded")
    assert len(items) == found.images == 80
    assert found.temperature == pytest.approx(best.x, rel=1e-3) and found.loss_scaled == pytest.approx(best.fun)
    assert found.ece == pytest.approx(record["metrics"]["ece"], abs=0.01)
    scores = scores_of(FinishedRun.read(folder))
    scaled = compute_metrics(scores.logits.double() / found.temperature, scores.labels)
    assert found.ece_scaled == pytest.approx(scaled["ece"], abs=1e-6)
    assert scaled["accuracy"] == pytest.approx(record["metrics"]["accuracy"])
    assert read_calibration(folder, "0" * 64) is None
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(DataError, match="calibration.json: damaged"):
        read_calibration(folder, record["weights_sha256"])


def test_what_learned_nothing_has_no_temperature(trained_runs, calibrate):
    status, _, err = calibrate(trained_runs.of("zeroshot"))
    assert status == 2 and "ZeroshotCLIP learned nothing, expected a run with training images" in err


def test_other_training_images_than_the_run_s_are_noticed(trained_runs, tmp_path, calibrate):
    folder = shutil.copytree(trained_runs.of("coop"), tmp_path / "coop")
    record = read_record(folder / "result.json")
    (folder / "result.json").write_text(json.dumps(record | {"manifest_sha256": "f" * 64}))
    status, _, err = calibrate(folder)
    assert (
        status == 2 and "was trained on the images ffffffffffff" in err and not (folder / "calibration.json").exists()
    )
