"""Own images from the folder to base-to-new: `mocoop datasets new`, then the two commands that it prints."""

import json

import pytest

import train
from mocoop.cli import main
from mocoop.engine import BACKEND
from tests.datasets.own import make_own_tree


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "checkout/configs/datasets").mkdir(parents=True)
    monkeypatch.setattr("mocoop.tools.datasets.find_checkout", lambda: tmp_path / "checkout")
    assert main(["datasets", "new", str(make_own_tree(tmp_path / "own")), "--name", "own"]) == 0
    return tmp_path / "checkout/configs/datasets/own.yaml"


def run(config, output, *more) -> dict:
    words = [
        "--trainer",
        "MoCoOp",
        "--seed",
        "1",
        "--root",
        str(config.parents[3] / "own"),
        "--output-dir",
        str(output),
    ]
    words += ["--dataset-config-file", str(config), "--config-file", "configs/trainers/MoCoOp/tiny.yaml"]
    assert train.main([*words, *more, "DATASET.NUM_SHOTS", "16", "OPTIM.MAX_EPOCH", "2"]) == 0
    return json.loads((output / "result.json").read_text())


@pytest.mark.skipif(BACKEND != "lite", reason="one engine is enough for this one")
def test_base_to_new(config, tmp_path, capsys):
    base = run(config, tmp_path / "base", "DATASET.SUBSAMPLE_CLASSES", "base")
    evaluated = ("--eval-only", "--model-dir", str(tmp_path / "base"), "--load-epoch", "2")
    new = run(config, tmp_path / "new", *evaluated, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert [row["classname"] for row in base["per_class"]] == ["Fée verte", "grand_duc"]
    assert [row["classname"] for row in new["per_class"]] == ["sea eagle"]
    assert (base["num_test"], new["num_test"]) == (4, 2)
    assert base["manifest_sha256"] == new["manifest_sha256"]
    assert "left out, cannot be read" in capsys.readouterr().out
