import pytest

from mocoop.errors import DataError
from mocoop.report.content import find_runs
from tests.results.runs import add_base_new, add_run


def test_the_configuration_of_most_datasets_is_the_main_one(tmp_path):
    for dataset in ("a", "b"):
        add_base_new(tmp_path, {1: 80.0}, {1: 70.0}, dataset=dataset, method="MoCoOp", cfg="tiny")
    add_base_new(tmp_path, {1: 60.0}, {1: 50.0}, dataset="b", method="MoCoOp", cfg="tiny_dense")
    (part,) = find_runs(tmp_path).protocols
    assert set(part.main["cfg"]) == {"tiny"} and len(part.main) == 4
    assert set(part.variants["cfg"]) == {"tiny", "tiny_dense"} and set(part.variants["dataset"]) == {"b"}


def test_configurations_that_cover_the_same_datasets_are_compared(tmp_path):
    for cfg in ("tiny", "tiny_dense"):
        add_base_new(tmp_path, {1: 80.0}, {1: 70.0}, method="MoCoOp", cfg=cfg)
    (part,) = find_runs(tmp_path).protocols
    assert set(part.main["cfg"]) == {"tiny", "tiny_dense"} and part.variants.empty


def test_configurations_that_differ_by_dataset_are_one(tmp_path):
    for dataset, cfg in (("a", "ep50"), ("b", "ep100")):
        add_base_new(tmp_path, {1: 80.0}, {1: 70.0}, dataset=dataset, cfg=cfg)
    (part,) = find_runs(tmp_path).protocols
    assert part.main["cfg"].nunique() == 1 and len(part.main) == 4
    assert any("CoOp" in note for note in part.notes)


def test_the_training_of_transfer_is_no_protocol_alone(tmp_path):
    add_run(tmp_path, 70.0, protocol="xd", phase="train")
    add_run(tmp_path, 50.0, protocol="dg", phase="test", dataset="a")
    assert [part.protocol for part in find_runs(tmp_path).protocols] == ["dg"]
    assert len(find_runs(tmp_path).finished) == 2


def test_only_the_protocol_and_the_seeds_that_are_asked_for(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 81.0}, {1: 70.0, 2: 71.0})
    add_run(tmp_path, 50.0, protocol="few_shot", phase="train_all")
    runs = find_runs(tmp_path, "base2new", seeds=[2])
    assert [part.protocol for part in runs.protocols] == ["base2new"] and set(runs.frame["seed"]) == {2}


def test_what_cannot_be_used_is_a_gap_and_a_problem_without_the_folders_above(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 81.0}, {1: 70.0, 2: 71.0})
    (tmp_path / "base2new/test_new/shapes_both/shots_16/CoOp/tiny/seed2/result.json").write_text("{")
    runs = find_runs(tmp_path)
    assert len(runs.finished) == 3 and len(runs.frame) == 4
    assert len(runs.problems) == 1 and runs.problems[0].startswith("base2new/test_new/")


def test_nothing_finished_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no finished run in <protocol>"):
        find_runs(tmp_path)
    add_base_new(tmp_path, {1: 80.0}, {1: 70.0})
    with pytest.raises(DataError, match="no finished run of protocol dg"):
        find_runs(tmp_path, "domain_generalization")


def test_a_run_by_hand_is_in_the_report_with_a_note(tmp_path):
    add_base_new(tmp_path, {1: 80.0}, {1: 70.0})
    add_run(tmp_path / "made", 60.0, method="MoCoOp").rename(tmp_path / "try")
    found = find_runs(tmp_path)
    (part,) = found.protocols
    assert set(part.main["method"]) == {"CoOp", "MoCoOp"} and not found.problems
    place = "base2new/train_base/shapes_both/shots_16/MoCoOp/try/seed1"
    assert part.notes == [f"try: counts by its record; the scripts' place for it is {place}"]
