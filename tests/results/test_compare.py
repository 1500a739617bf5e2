import argparse
import json
from functools import partial

import pytest

from mocoop.errors import DataError
from mocoop.results.compare import comparison_table, named_runs
from mocoop.results.runs import collect
from mocoop.results.stats import harmonic_mean
from mocoop.tools import compare as tool
from tests.results.runs import add_answers


@pytest.fixture
def add(tmp_path):
    return partial(add_answers, tmp_path)


def add_both(add, a: float, b: float, **where):
    for seed in (1, 2, 3):
        add("MoCoOp", a + 0.005 * seed, seed, **where)
        add("CoOp", b, seed, **where)


def table(root, a="MoCoOp", b="CoOp", protocol="base2new"):
    frame = collect(root).with_gaps()
    both = [named_runs(name, frame, protocol)[1] for name in (a, b)]
    return comparison_table(*both, protocol, (a, b))


def rows_of(found) -> dict:
    return {(row[0], row[1]): row[2:] for row in found.rows if row is not None}


def test_base_new_and_h_of_each_dataset_and_their_average(tmp_path, add):
    for dataset, lead in (("a", 0.2), ("b", 0.0)):
        add_both(add, 0.6 + lead, 0.61, dataset=dataset)
        add_both(add, 0.5 + lead, 0.51, dataset=dataset, phase="test_new")
    found = table(tmp_path)
    rows = rows_of(found)
    assert list(rows) == [(name, what) for name in ("a", "b", "average") for what in ("Base", "New", "H")]
    ours, theirs, difference, low, high, p, pairs, verdict = rows["a", "Base"]
    assert (ours.mean, theirs.mean, difference.mean) == pytest.approx((81.0, 61.0, 20.0))
    assert low.mean < 20.0 < high.mean and (p, pairs, verdict) == ("< 0.001", "3 of 3", "better")
    assert rows["a", "H"][0].mean == pytest.approx(harmonic_mean(81.0, 71.0)) and rows["a", "H"][6] == "–"
    assert rows["average", "H"][0].mean == pytest.approx(harmonic_mean(71.0, 61.0))
    assert rows["b", "Base"][-1] == "not told apart"
    assert "Base: better on a, average; not told apart on b" in found.notes


def test_the_other_way_round_is_worse_and_a_phase_that_one_lacks_is_named(tmp_path, add):
    add_both(add, 0.8, 0.6)
    assert rows_of(table(tmp_path, "CoOp", "MoCoOp"))["shapes_both", "Base"][-1] == "worse"
    add("CoOp", 0.5, phase="test_new")
    assert "shapes_both: MoCoOp has no result of test_new" in table(tmp_path).notes


def test_one_seed_says_nothing_of_seeds_and_one_test_image_nothing_of_others(tmp_path, add):
    add("MoCoOp", 0.9), add("CoOp", 0.5)
    assert rows_of(table(tmp_path))["shapes_both", "Base"][-3:] == ["–", "1 of 1", "one seed only"]
    for seed in (1, 2):
        add("MoCoOp", 1.0, seed, images=1), add("CoOp", 0.0, seed, images=1)
    assert rows_of(table(tmp_path))["shapes_both", "Base"][5] == "–"


def test_both_sides_of_one_test_among_all_names_and_zero_shot_at_every_number_of_shots(tmp_path, add):
    for seed in (1, 2):
        for method, right in (("MoCoOp", 0.8), ("CoOp", 0.6)):
            add(method, right, seed, protocol="base2new_all", phase="test_all", sides={"base_accuracy": 1.0})
        add("ZeroshotCLIP", 0.5, seed, protocol="few_shot", phase="train_all", shots=0)
        for shots in (1, 16):
            add("CoOp", 0.6, seed, protocol="few_shot", phase="train_all", shots=shots)
    found = table(tmp_path, protocol="base2new_all")
    assert [row[1] for row in found.rows if row] == ["Base", "New", "H"]
    found = table(tmp_path, "CoOp", "ZeroshotCLIP", "few_shot")
    assert [line.partition(":")[0] for line in found.notes[:2]] == ["Accuracy, 1 shot", "Accuracy, 16 shots"]


def test_averages_are_of_targets_and_of_one_model_and_a_spoiled_seed_counts_on_none(tmp_path, add):
    add_both(add, 0.6, 0.6, protocol="xd", phase="train", dataset="imagenet")
    for dataset in ("dtd", "caltech101"):
        add_both(add, 0.7, 0.6, protocol="xd", phase="test", dataset=dataset)
    rows = rows_of(table(tmp_path, protocol="xd"))
    assert [name for name, _ in rows] == ["imagenet (source)", "caltech101", "dtd", "average"]
    assert rows["average", "Accuracy"][0].mean == pytest.approx(71.0)
    (tmp_path / "xd/test/dtd/shots_16/CoOp/tiny/seed1/predictions.csv").write_text("path")
    rows = rows_of(table(tmp_path, protocol="xd"))
    assert {rows[name, "Accuracy"][6] for name in ("caltech101", "dtd")} == {"2 of 2"}


def test_a_seed_that_one_lacks_is_left_out_and_named_and_so_is_what_leaves_two_runs_a_pair(tmp_path, add):
    add_both(add, 0.8, 0.6)
    add("MoCoOp", 0.1, 4)
    found = table(tmp_path)
    assert rows_of(found)["shapes_both", "Base"][0].mean == pytest.approx(81.0)
    assert "shapes_both: CoOp lacks seed 4" in found.notes
    for method, precision in (("MoCoOp", "amp"), ("CoOp", "fp16")):
        for folder in (tmp_path / f"base2new/train_base/shapes_both/shots_16/{method}/tiny").iterdir():
            change(folder, precision={"train": precision, "test": "fp32"})
    assert "not the same precision of training: amp and fp16" in table(tmp_path).notes


def change(folder, **changes):
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    "changes, images, message",
    [
        ({"manifest_sha256": "1" * 64}, {}, "got few-shot subset 0000"),
        ({"backbone": "RN50"}, {}, "got CLIP tiny and RN50"),
        (
            {"per_class": [{"label": 0, "classname": "ape", "total": 9, "correct": 1}]},
            {},
            "got class names cat and ape",
        ),
        ({}, {"images": 100}, "got test images 200 and 100"),
        ({}, {"offset": 1}, "images/00001.png', 0), expected the same"),
    ],
)
def test_runs_that_are_no_pair_are_refused_by_name(tmp_path, add, changes, images, message):
    ours, theirs = add("MoCoOp", 0.8), add("CoOp", 0.6, **images)
    change(theirs, **changes)
    with pytest.raises(DataError) as caught:
        table(tmp_path)
    line = str(caught.value)
    assert message in line and str(ours) in line and str(theirs) in line and "\n" not in line


def test_methods_of_different_shots_are_no_pair_and_rows_say_their_number(tmp_path, add):
    add("MoCoOp", 0.8, shots=16), add("CoOp", 0.6, shots=4)
    with pytest.raises(DataError, match="MoCoOp and CoOp have no test in common"):
        table(tmp_path)
    for shots in (1, 4):
        add_both(add, 0.8, 0.6, protocol="few_shot", phase="train_all", shots=shots)
    found = table(tmp_path, protocol="few_shot")
    assert list(rows_of(found)) == [("shapes_both", "Accuracy, 1 shot"), ("shapes_both", "Accuracy, 4 shots")]


def run_tool(capsys, *argv) -> str:
    parser = argparse.ArgumentParser()
    tool.add_arguments(parser)
    assert tool.run(parser.parse_args(list(map(str, argv)))) == 0
    return capsys.readouterr().out


def test_folders_and_configurations_are_compared(tmp_path, add, capsys):
    add_both(add, 0.8, 0.6)
    variant = [add("MoCoOp", 0.5, seed, cfg="dense") for seed in (1, 2, 3)]
    own = [add("CoOp", 0.9, seed, dataset="own") for seed in (1, 2)]
    assert "### MoCoOp against CoOp" in run_tool(capsys, "MoCoOp/tiny", "CoOp", "--on", tmp_path)
    out = run_tool(capsys, "MoCoOp/tiny", variant[0].parent, "--on", tmp_path)
    assert f"| MoCoOp/tiny | {variant[0].parent} |" in out and "better" in out
    with pytest.raises(DataError, match="MoCoOp may be MoCoOp/dense, MoCoOp/tiny; name one"):
        run_tool(capsys, "MoCoOp", "CoOp", "--on", tmp_path)
    with pytest.raises(DataError, match="Cop: none of CoOp/tiny, MoCoOp/dense, MoCoOp/tiny in protocol base2new"):
        run_tool(capsys, "Cop", "CoOp", "--on", tmp_path)
    own[0].rename(tmp_path / "a"), own[1].rename(tmp_path / "b")  # folders outside the scripts' layout
    with pytest.raises(DataError, match="no test in common"):
        run_tool(capsys, tmp_path / "a", tmp_path / "b")
    out = run_tool(capsys, tmp_path / "a", tmp_path / "a", "--format", "csv")
    assert out.splitlines()[1].split(",")[1:5] == ["Base", "90.0", "90.0", "0.0"]


def test_two_runs_of_one_seed_are_no_two_seeds(tmp_path, add, capsys):
    for name, right in (("a/x", 0.9), ("a/y", 0.8), ("b/x", 0.5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        add("CoOp", right, dataset="own").rename(tmp_path / name)
    with pytest.raises(DataError, match="are runs of one seed"):
        run_tool(capsys, tmp_path / "a", tmp_path / "b")


def test_names_that_no_run_has_are_said(tmp_path, add, capsys, caplog):
    add_both(add, 0.8, 0.6)
    run_tool(capsys, "MoCoOp", "CoOp", "--on", tmp_path, "--datasets", "shapes_both,typo", "--seeds", "1,2,9")
    assert {record.getMessage() for record in caplog.records} == {"no run has dataset typo", "no run has seed 9"}
    add_both(add, 0.8, 0.6, protocol="few_shot", phase="train_all", dataset="other")
    with pytest.raises(DataError, match="Foo: none of CoOp/tiny, MoCoOp/tiny in protocol few_shot"):
        run_tool(capsys, "CoOp", "Foo", "--on", tmp_path / "few_shot")


def test_what_trained_on_all_images_is_no_pair_of_what_trained_on_a_few(tmp_path, add):
    for seed in (1, 2):
        for shots in (1, 16):
            add("CoOp", 0.6, seed, protocol="few_shot", phase="train_all", shots=shots)
        add("MoCoOp", 0.9, seed, protocol="few_shot", phase="train_all", shots=0)
    with pytest.raises(DataError, match="MoCoOp and CoOp have no test in common"):
        table(tmp_path, protocol="few_shot")
    for seed in (1, 2):
        add("CoOp", 0.8, seed, protocol="few_shot", phase="train_all", shots=0)
    found = table(tmp_path, protocol="few_shot")
    assert list(rows_of(found)) == [("shapes_both", "Accuracy, all images")]


def test_one_run_whose_files_do_not_belong_together_is_named_and_left_out(tmp_path, add):
    add_both(add, 0.8, 0.6)
    add_both(add, 0.8, 0.6, dataset="other")
    folder = tmp_path / "base2new/train_base/other/shots_16/CoOp/tiny/seed2"
    (folder / "predictions.csv").write_bytes((folder.with_name("seed3") / "predictions.csv").read_bytes())
    found = table(tmp_path)
    assert any(note.startswith(f"left out: {folder}: predictions.csv has ") for note in found.notes)
    pairs = {dataset: row[6] for (dataset, _), row in rows_of(found).items()}
    assert pairs["shapes_both"].endswith("of 3") and pairs["other"].endswith("of 2")
    (folder / "predictions.csv").unlink()
    assert any(f"left out: {folder}/predictions.csv: cannot be read" in note for note in table(tmp_path).notes)
