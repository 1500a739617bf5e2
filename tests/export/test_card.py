"""The model card of a folder for a model hub."""

import json
import shutil
import statistics

import pytest
import yaml

from mocoop.errors import ConfigError
from mocoop.export.card import model_card
from mocoop.runs.trained_run import load_run
from tests.tools.tool import Tool

SETTING = "shots_2/MoCoOp/tiny"


@pytest.fixture
def run_folder(trained_runs):
    return trained_runs.of("mocoop")


def place(run_folder, output, phase, seed, accuracy):
    """A copy of a run in the layout of an output folder, as if it had another seed and another result."""
    folder = output / f"base2new/{phase}/shapes_both/{SETTING}/seed{seed}"
    shutil.copytree(run_folder, folder)
    record = json.loads((folder / "result.json").read_text())
    record |= {"seed": seed, "subsample_classes": phase.rpartition("_")[2]}
    record["config"]["SEED"], record["metrics"]["accuracy"] = seed, accuracy
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def parts_of(text):
    """The front matter, as values, and the page below it."""
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_results_of_all_seeds_beside_the_run(run_folder, tmp_path):
    base, new = {1: 80.0, 2: 71.0, 3: 74.5}, {1: 60.0, 2: 65.0, 3: 55.0}
    for seed in base:
        place(run_folder, tmp_path, "train_base", seed, base[seed])
        place(run_folder, tmp_path, "test_new", seed, new[seed])
    folder = tmp_path / f"base2new/train_base/shapes_both/{SETTING}/seed2"
    head, body = parts_of(model_card(load_run(folder), folder, onnx=True, with_backbone=True))
    for values in (base.values(), new.values()):
        assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" in body
    assert "is the one of seed 2" in body and "One seed" not in body and "model.onnx" in body
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 71.0


def test_a_run_by_itself_is_told_as_one_seed(run_folder):
    record = json.loads((run_folder / "result.json").read_text())
    head, body = parts_of(model_card(load_run(run_folder), run_folder, onnx=False, with_backbone=False))
    assert f"{record['metrics']['accuracy']:.2f} |" in body and "One seed" in body and "model.onnx" not in body
    assert "groups of templates" in body and "https://arxiv.org/abs/2409.12011" in body and "2 of 9 experts" in body
    assert head["license"] == "mit" and "base_model" not in head
    settings = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert settings["TRAINER"] == {"NAME": "MoCoOp", "MOCOOP": record["config"]["TRAINER"]["MOCOOP"]}
    assert str(run_folder.parent) not in body and "ROOT" not in body


def test_hubs_read_the_front_matter(run_folder):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(load_run(run_folder), run_folder, onnx=False, with_backbone=False))
    accuracy = card.data.eval_results[0]
    record = json.loads((run_folder / "result.json").read_text())
    assert accuracy.metric_value == round(record["metrics"]["accuracy"], 2) and accuracy.metric_type == "accuracy"
    assert card.data.pipeline_tag == "image-classification"


def test_results_of_other_weights_are_not_told(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | {"weights_sha256": "a" * 64}))
    with pytest.raises(ConfigError, match="its result is of other weights than .*model.pth.tar-1 holds"):
        model_card(load_run(folder), folder, onnx=False, with_backbone=False)


def test_other_names_have_no_results(run_folder):
    run = load_run(run_folder).with_classes(["red plain circle", "blue dotted star"])
    with pytest.raises(ConfigError, match="tells the results of a run"):
        model_card(run, run_folder, onnx=False, with_backbone=False)


def test_the_tool_writes_it_and_overwrites_nothing(run_folder, tmp_path, capsys):
    export = Tool("export", capsys)
    assert export(run_folder, "--hub", tmp_path / "hub", "--no-onnx")[0] == 0
    assert {"README.md", "model.safetensors", "classes.json"} <= {path.name for path in (tmp_path / "hub").iterdir()}
    (tmp_path / "hub/README.md").write_text("mine")
    status, _, err = export(run_folder, "--hub", tmp_path / "hub", "--no-onnx")
    assert status == 2 and "holds files already" in err and (tmp_path / "hub/README.md").read_text() == "mine"
    checkpoint = next((run_folder / "prompt_learner").glob("model.pth.tar-*"))
    assert export(checkpoint, "--hub", tmp_path / "hub", "--no-onnx", "--force")[0] == 0
    assert (tmp_path / "hub/README.md").read_text().startswith("---\nlicense: mit")
