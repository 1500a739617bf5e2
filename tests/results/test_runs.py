"""An output tree as a table of runs."""

import json
import shutil

import pytest

from mocoop.errors import DataError
from mocoop.results.record import unfinished_record, write_record
from mocoop.results.runs import COLUMNS, collect
from tests.results.runs import add_run, make_config, make_record, make_routing


def only(items):
    (item,) = items
    return item


def test_a_run_becomes_a_row_named_by_its_folder(tmp_path):
    routing = make_routing(["photo"], 1, 94.0)
    where = {"phase": "test_new", "dataset": "shapes_color", "method": "MoCoOp", "cfg": "tiny", "seed": 3}
    folder = add_run(tmp_path, 71.5, routing=routing, **where)
    found = collect(tmp_path)
    row = found.frame.iloc[0]
    assert list(found.frame.columns) == COLUMNS and len(found.frame) == 1 and not found.problems
    assert (row.protocol, row.phase, row.dataset, row.shots) == ("base2new", "test_new", "shapes_color", 16)
    assert (row.method, row.cfg, row.seed, row.accuracy) == ("MoCoOp", "tiny", 3, 71.5)
    assert (row.subsample_classes, row.train_seconds, row.folder) == ("new", 2.5, str(folder))
    assert row.routing == routing and row.domain_in_top_k == 94.0


def test_the_layout_is_found_from_any_folder_above_a_run(tmp_path):
    folder = add_run(tmp_path, 71.5)
    for above in folder.parents[:7]:
        row = collect(above).frame.iloc[0]
        assert (row.protocol, row.phase, row.seed) == ("base2new", "train_base", 1)


def test_a_run_outside_the_layout_keeps_what_its_record_says(tmp_path):
    write_record(tmp_path / "result.json", make_record(60.0, seed=5))
    row = collect(tmp_path).frame.iloc[0]
    assert (row.protocol, row.cfg, row.dataset, row.seed, row.accuracy) == ("", "", "ShapesBoth", 5, 60.0)


def test_unfinished_and_damaged_runs_are_named_and_left_out(tmp_path):
    add_run(tmp_path, 50.0, seed=1)
    silent, failed, damaged = (add_run(tmp_path, 50.0, seed=seed) for seed in (2, 3, 4))
    (silent / "result.json").unlink()
    write_record(failed / "result.json", unfinished_record(make_config(), "failed", "out of memory"))
    (damaged / "result.json").write_text("{")
    found = collect(tmp_path)
    assert found.frame.seed.tolist() == [1]
    assert found.problems[:2] == [
        f"{silent}: no result.json, the run did not finish",
        f"{failed}: the run is failed (out of memory)",
    ]
    assert len(found.problems) == 3 and "not a readable record" in found.problems[2]


@pytest.mark.parametrize(
    "field, value, message",
    [("seed", 2, "says seed 2, its folder says 1"), ("shots", 4, "says shots 4"), ("method", "CoCoOp", "says method")],
)
def test_a_record_that_contradicts_its_folder_is_left_out(tmp_path, field, value, message):
    path = add_run(tmp_path, 50.0) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    found = collect(tmp_path)
    assert found.frame.empty and message in only(found.problems)


def test_a_base_result_copied_to_test_new_is_left_out(tmp_path):
    base = add_run(tmp_path, 80.0, phase="train_base")
    shutil.copytree(base, str(base).replace("train_base", "test_new"))
    found = collect(tmp_path)
    assert found.frame.phase.tolist() == ["train_base"]
    assert "says subsample_classes base, its folder says new" in only(found.problems)


def test_the_same_run_in_two_folders_does_not_count(tmp_path):
    add_run(tmp_path / "a", 50.0)
    add_run(tmp_path / "b", 60.0)
    add_run(tmp_path / "b", 60.0, seed=2)
    found = collect(tmp_path)
    assert found.frame.seed.tolist() == [2]
    assert len(found.problems) == 2


def test_an_empty_tree_gives_an_empty_frame_and_a_missing_one_is_named(tmp_path):
    assert list(collect(tmp_path).frame.columns) == COLUMNS
    with pytest.raises(DataError, match="nowhere: no such folder"):
        collect(tmp_path / "nowhere")


def test_what_is_begun_but_cannot_be_used_is_a_gap_unless_another_folder_fills_it(tmp_path):
    add_run(tmp_path, 50.0, seed=1)
    (add_run(tmp_path / "again", 50.0, seed=1) / "result.json").unlink()
    (add_run(tmp_path, 50.0, seed=2) / "result.json").unlink()
    (add_run(tmp_path, 50.0, seed=3) / "result.json").write_text("{")
    running = add_run(tmp_path, 50.0, seed=4) / "result.json"
    running.unlink()
    write_record(running, unfinished_record(make_config(seed=4), "running"))
    add_run(tmp_path / "again", 50.0, seed=5)
    add_run(tmp_path / "and_again", 50.0, seed=5)
    found = collect(tmp_path)
    usable = found.with_gaps().set_index("seed").accuracy.notna().to_dict()
    assert usable == {1: True, 2: False, 3: False, 4: False, 5: False}
    assert found.frame.seed.tolist() == [1]


def test_records_with_hashes_of_an_earlier_version_compare_with_new_ones(tmp_path):
    """The hash is of the config anew, whatever the record holds."""
    old = add_run(tmp_path, 50.0, seed=1) / "result.json"
    old.write_text(json.dumps(json.loads(old.read_text()) | {"config_sha256": "e" * 64}))
    add_run(tmp_path, 50.0, seed=2)
    assert collect(tmp_path).frame["config_sha256"].nunique() == 1
