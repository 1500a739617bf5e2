"""The runs of a report, its opening words and its tables of routers and settings."""

import math

import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.report.content import Folded, Listing, TableBlock, find_runs
from mocoop.report.routing_section import MISSING, router_blocks
from mocoop.report.sections import as_lines, differences, headline, own_settings, settings_section
from mocoop.results.record import ROUTERS, validate_record
from tests.results.runs import add_answers, add_base_new, add_run, make_record, make_routing


def test_the_configuration_of_most_datasets_is_the_main_one(tmp_path):
    for dataset in ("a", "b"):
        add_base_new(tmp_path, {1: 80.0}, {1: 70.0}, dataset=dataset, method="MoCoOp", cfg="tiny")
    add_base_new(tmp_path, {1: 60.0}, {1: 50.0}, dataset="b", method="MoCoOp", cfg="tiny_dense")
    (part,) = find_runs(tmp_path).protocols
    assert set(part.main["cfg"]) == {"tiny"} and len(part.main) == 4
    assert set(part.variants["cfg"]) == {"tiny", "tiny_dense"} and set(part.variants["dataset"]) == {"b"}
    add_base_new(tmp_path, {1: 60.0}, {1: 50.0}, dataset="a", method="MoCoOp", cfg="tiny_dense")  # as many of either
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
    add_base_new(tmp_path, {1: 80.0, 2: 81.0}, {1: 70.0, 2: 71.0})
    runs = find_runs(tmp_path, "base2new", seeds=[2])  # only those that are asked for
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


@pytest.fixture
def opening(tmp_path):
    """The headline of MoCoOp and CoOp with these shares of right answers on base and new classes."""

    def opening(a: float, b: float, seeds=(1, 2, 3), **of_b):
        for seed in seeds:
            for phase in ("train_base", "test_new"):
                add_answers(tmp_path, "MoCoOp", a + 0.005 * seed, seed, phase=phase)
                add_answers(tmp_path, "CoOp", b, seed, phase=phase, **of_b)
        (part,) = find_runs(tmp_path).protocols
        return headline(part)

    return opening


def test_the_best_is_better_if_pairs_say_so(opening):
    words = opening(0.8, 0.6)
    start = "Base to new classes: highest H on shapes_both: MoCoOp 81.00 ± 0.50, then CoOp 60.00 ± 0.00. "
    assert words.startswith(start)
    assert "MoCoOp is better: +21.00 points, 95 % interval +1" in words and words.endswith("paired by image and seed.")
    assert "to +23.32, p < 0.001, paired" in words
    assert "The two are not told apart: +0.50 points, 95 % interval −" in opening(0.6, 0.605)


def test_one_seed_is_said_to_tell_nothing_and_other_images_to_be_no_pairs(opening):
    assert opening(0.8, 0.6, seeds=[1]).endswith("CoOp 60.00. One seed does not tell whether that is chance.")
    for b, end in ((0.6, "The runs cannot be paired."), (0.81, "less than their deviations.")):
        assert opening(0.8, b, offset=1).endswith(end)


def routing(own, style=None):
    accuracy = dict.fromkeys(ROUTERS, 50.0) | {"router": own, "style": style}
    routers = {"load": [own, 100 - own], "agreement": 60.0, "accuracy": accuracy}
    return make_routing(["photo", "dark"], 1, None) | {"routers": routers}


def frame(*runs):
    return pd.DataFrame([("dtd", *run) for run in runs], columns=["dataset", "phase", "routing"])


def test_means_and_spread_over_seeds_and_a_gap_where_no_style_is_known():
    runs = [("train_base", 70.0), ("train_base", 80.0), ("test_new", 40.0), ("test_new", 40.0)]
    routers, load = router_blocks(frame(*((phase, routing(own)) for phase, own in runs)), [1, 2])
    assert isinstance(routers, TableBlock) and [row[1] for row in routers.table.rows] == ["base classes", "new classes"]
    own = routers.table.rows[0][routers.table.columns.index("Own router")]
    assert own.mean == 75 and own.spread == pytest.approx(math.sqrt(50))
    assert math.isnan(routers.table.rows[0][routers.table.columns.index("True style")].mean)
    assert [row[0] for row in load.table.rows] == ["photo", "dark"] and load.table.rows[1][2].mean == 60


def test_a_missing_seed_is_a_gap_and_runs_of_earlier_versions_are_said_to_lack_it():
    runs = frame(("train_base", routing(70.0)), ("train_base", routing(80.0)), ("test_new", routing(40.0)))
    routers, load = (block.table for block in router_blocks(runs, [1, 2]))
    assert [math.isnan(row[2].mean) for row in routers.rows] == [False, True]
    assert all(math.isnan(new.mean) and not math.isnan(base.mean) for _, base, new in load.rows)
    assert router_blocks(frame(("test_new", make_routing(["photo"], 1, None))), [1])[0].text == MISSING


@pytest.mark.parametrize("change", [{"load": [1.0]}, {"load": ["a", "b"]}, {"accuracy": {}}, {"agreement": "much"}])
def test_a_record_with_damaged_numbers_is_refused(change):
    whole = routing(70.0)
    validate_record(make_record(routing=whole), "here")
    with pytest.raises(DataError, match="here: routing: "):
        validate_record(make_record(routing=whole | {"routers": whole["routers"] | change}), "here")


def test_a_row_for_each_setting_that_is_not_the_same_everywhere():
    """Values that differ between runs of one method stand side by side; many and long ones are cut."""
    coop = {"OPTIM.LR": "0.002", "OPTIM.NAME": "sgd", "N_CTX": "16"}
    table = differences({"CoOp": [coop], "MoCoOp": [{"OPTIM.LR": "0.02", "OPTIM.NAME": "sgd", "TOP_K": "2"}]})
    assert table.columns == ["Setting", "CoOp", "MoCoOp"] and table.rows == [["OPTIM.LR", "0.002", "0.02"]]
    table = differences({"MoCoOp": [{"LR": "1", "K": "2"}, {"LR": "3", "K": "2"}], "CoOp": [{"LR": "1"}]})
    assert table.rows == [["LR", "1 | 3", "1"]]
    table = differences({"MoCoOp": [{"LR": str(number)} for number in range(9)], "CoOp": [{"LR": "x" * 99}]})
    assert table.rows[0][1] == "0 | 1 | 2 | 3 | and 5 more" and len(table.rows[0][2]) == 60


def test_own_settings_are_those_of_the_method_and_of_no_single_run():
    dataset = {"ROOT": "/secret", "NAME": "Folder", "NUM_SHOTS": 16, "SUBSAMPLE_CLASSES": "base", "FOLDER": {"CSV": ""}}
    trainer = {"NAME": "CoOp", "COOP": {"N_CTX": 16}, "MOCOOP": {"TOP_K": 2}}
    config = {"SEED": 1, "OUTPUT_DIR": "/secret/place", "DATASET": dataset, "OPTIM": {"BETAS": [0.9, 0.99]}}
    settings = own_settings({"method": "CoOp", "epoch": 5, "config": config | {"TRAINER": trainer}})
    assert settings == {"DATASET.FOLDER.CSV": "", "OPTIM.BETAS": "[0.9, 0.99]", "TRAINER.COOP.N_CTX": "16"}
    assert as_lines(settings).splitlines()[1] == "OPTIM.BETAS [0.9, 0.99]"


@pytest.mark.parametrize(
    "method, node, epoch, rest, expected",
    [
        ("LinearProbe", "LINEAR_PROBE", 5, {}, {"TRAINER.LINEAR_PROBE.C": "0.3"}),
        ("Mine", "OF_MINE", 5, {}, {"TRAINER.OF_MINE.C": "0.3"}),
        ("ZeroshotCLIP", "NONE", None, {"OPTIM": {"LR": 0.1}, "INPUT": {"SIZE": [64, 64]}}, {"INPUT.SIZE": "[64, 64]"}),
    ],
)
def test_own_settings_are_found_by_the_methods_node_and_of_training_where_it_learns(
    method, node, epoch, rest, expected
):
    nodes = {} if epoch is None else {node: {"C": 0.3}, "COOP": {"N_CTX": 16}}
    config = {"TRAINER": {"NAME": method} | nodes} | rest
    assert own_settings({"method": method, "epoch": epoch, "config": config}) == expected


def test_cost_versions_and_whole_settings_of_every_method(tmp_path):
    for method in ("CoOp", "MoCoOp"):
        add_base_new(tmp_path, {1: 80.0, 2: 81.0}, {1: 70.0}, method=method)
    blocks = settings_section(find_runs(tmp_path)).blocks
    tables = {block.table.title: block.table for block in blocks if isinstance(block, TableBlock)}
    assert list(tables) == ["Cost", "Versions"]  # the methods do not differ
    assert tables["Cost"].rows[0] == ["CoOp tiny", "3", "2.5 ± 0.0", "0.5 ± 0.0", "100.0 ± 0.0"]
    assert ["engine", "lite"] in tables["Versions"].rows
    folded = [block for block in blocks if isinstance(block, Folded)]
    assert [block.title for block in folded] == ["All settings of CoOp tiny", "All settings of MoCoOp tiny"]
    assert isinstance(folded[0].blocks[0], Listing) and "OPTIM.LR 0.002" in folded[0].blocks[0].text
