"""Tables and comparisons of what `mocoop transduce` left: never among inductive runs, and only of the run as it is."""

import json
import shutil

import pandas as pd
import pytest

from mocoop.results.runs import collect, collect_transduced, join
from tests.results.runs import add_answers, add_base_new
from tests.tools.tool import Tool


def put_on_top(folder, label, accuracies, seen="all at once", **changes):
    """Records of a method on top of the run in `folder`, one for each order."""
    record = json.loads((folder / "result.json").read_text())
    for order, accuracy in enumerate(accuracies, 1):
        kept = folder / "transduced" / label / f"order{order}"
        kept.mkdir(parents=True)
        on_top = {"with": label, "label": label, "seen": seen, "settings": {}, "batch": 64, "order": order}
        metrics = record["metrics"] | {"accuracy": accuracy}
        (kept / "result.json").write_text(json.dumps(record | {"metrics": metrics, "transduction": on_top} | changes))
        if (folder / "predictions.csv").exists():
            shutil.copy(folder / "predictions.csv", kept)


@pytest.fixture
def tree(tmp_path):
    for method, base, new in (("CoOp", 70.0, 60.0), ("MoCoOp", 72.0, 64.0)):
        add_base_new(tmp_path, {1: base, 2: base + 1}, {1: new, 2: new + 1}, method=method)
        for phase, gain in (("train_base", 2.0), ("test_new", 4.0)):
            for seed in (1, 2):
                folder = tmp_path / f"base2new/{phase}/shapes_both/shots_16/{method}/tiny/seed{seed}"
                accuracy = (base if phase == "train_base" else new) + seed - 1 + gain
                put_on_top(folder, "transclip_64", [accuracy - 1, accuracy, accuracy + 1], "64 at a time")
    return tmp_path


def test_they_are_in_tables_of_their_own_with_means_over_orders(tree, capsys):
    status, out, err = Tool("table", capsys)(tree)
    alone, on_top = out.split("### ")[1:]
    assert status == 0 and "left out" not in err
    assert alone.startswith("Base to new classes\n")
    assert "CoOp | 70.50 ± 0.71 | 60.50 ± 0.71 |" in " ".join(alone.split())
    assert on_top.startswith("Base to new classes, transclip_64 (test images 64 at a time)\n")
    assert "CoOp | 72.50 ± 0.71 | 64.50 ± 0.71 |" in " ".join(on_top.split())
    assert "the mean over 3 orders of its test images, whose accuracies have a standard deviation of 1.00" in on_top
    assert "orders" not in alone


def test_what_is_of_another_model_now_is_left_out_and_named(tree, capsys):
    folder = tree / "base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed1"
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | {"weights_sha256": "1" * 64}))
    other = tree / "base2new/test_new/shapes_both/shots_16/CoOp/tiny/seed2"
    (other / "transduced/transclip_64/order2/result.json").unlink()
    found = collect_transduced(tree)
    assert len(found.frame) == 6
    assert "seed1/transduced/transclip_64/order1: is of another model or test than its run now is" in found.problems[1]
    assert "order2: no result.json, the run did not finish" in found.problems[0]


def test_records_of_the_run_itself_are_not_taken_for_them(tree):
    folder = tree / "base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed1"
    put_on_top(folder, "stata", [50.0], transduction=None)
    (problem,) = collect_transduced(tree).problems
    assert "stata/order1: got no transduction in result.json" in problem
    assert len(collect(tree).frame) == 8


def test_schedules_that_differ_by_data_set_are_joined_with_what_is_on_top_of_them(tmp_path):
    for dataset, cfg in (("shapes_both", "a"), ("shapes_color", "b")):
        add_base_new(tmp_path, {1: 70.0}, {1: 60.0}, dataset=dataset, cfg=cfg)
        put_on_top(tmp_path / f"base2new/train_base/{dataset}/shots_16/CoOp/{cfg}/seed1", "tda", [71.0])
    frames = [collect(tmp_path).frame, collect_transduced(tmp_path).frame]
    joined, _ = join(pd.concat(frames, ignore_index=True), "base2new")
    assert set(joined["cfg"]) == {"a+b", "a+tda+b+tda"}


def test_a_method_s_name_means_its_runs_without_anything_on_top(tmp_path, capsys):
    for method, right in (("CoOp", 0.6), ("MoCoOp", 0.7)):
        for seed in (1, 2):
            put_on_top(add_answers(tmp_path, method, right, seed, phase="train_base"), "tda", [100 * right])
    compare = Tool("compare", capsys)
    status, out, _ = compare("MoCoOp", "CoOp", "--on", tmp_path)
    assert status == 0 and out.startswith("### MoCoOp against CoOp\n")
    status, out, _ = compare("MoCoOp/tiny+tda", "CoOp/tiny+tda", "--on", tmp_path)
    assert status == 0 and "| shapes_both | Base" in out
    status, _, err = compare("MoCoOp/tiny+tda", "MoCoOp", "--on", tmp_path)
    assert status == 2 and "cannot be paired: got way in which test images are seen" in err
    status, out, err = Tool("table", capsys)(tmp_path, "--against", "CoOp")
    assert out.count("### MoCoOp against CoOp\n") == 1
    assert out.count("### MoCoOp against CoOp, tda (test images all at once)\n") == 1
