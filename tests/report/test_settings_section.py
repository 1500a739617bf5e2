from mocoop.report.content import Folded, Listing, TableBlock, find_runs
from mocoop.report.sections import as_lines, differences, own_settings, settings_section
from tests.results.runs import add_base_new


def test_a_row_for_each_setting_that_is_not_the_same_everywhere():
    table = differences(
        {
            "CoOp": [{"OPTIM.LR": "0.002", "OPTIM.NAME": "sgd", "N_CTX": "16"}],
            "MoCoOp": [{"OPTIM.LR": "0.02", "OPTIM.NAME": "sgd", "TOP_K": "2"}],
        }
    )
    assert table.columns == ["Setting", "CoOp", "MoCoOp"]
    assert table.rows == [["OPTIM.LR", "0.002", "0.02"]]


def test_values_that_differ_between_runs_of_one_method_stand_side_by_side():
    table = differences({"MoCoOp": [{"LR": "1", "K": "2"}, {"LR": "3", "K": "2"}], "CoOp": [{"LR": "1"}]})
    assert table.rows == [["LR", "1 | 3", "1"]]


def test_many_and_long_values_are_cut():
    table = differences({"MoCoOp": [{"LR": str(number)} for number in range(9)], "CoOp": [{"LR": "x" * 99}]})
    assert table.rows[0][1] == "0 | 1 | 2 | 3 | and 5 more"
    assert len(table.rows[0][2]) == 60


def test_own_settings_are_those_of_the_method_and_of_no_single_run():
    config = {
        "SEED": 1,
        "OUTPUT_DIR": "/secret/place",
        "DATASET": {
            "ROOT": "/secret",
            "NAME": "Folder",
            "NUM_SHOTS": 16,
            "SUBSAMPLE_CLASSES": "base",
            "FOLDER": {"CSV": ""},
        },
        "OPTIM": {"BETAS": [0.9, 0.99]},
        "TRAINER": {"NAME": "CoOp", "COOP": {"N_CTX": 16}, "MOCOOP": {"TOP_K": 2}},
    }
    settings = own_settings({"method": "CoOp", "epoch": 5, "config": config})
    assert settings == {"DATASET.FOLDER.CSV": "", "OPTIM.BETAS": "[0.9, 0.99]", "TRAINER.COOP.N_CTX": "16"}
    assert as_lines(settings).splitlines()[1] == "OPTIM.BETAS [0.9, 0.99]"


def test_own_settings_are_found_by_the_methods_node():
    config = {"TRAINER": {"NAME": "LinearProbe", "LINEAR_PROBE": {"C": 0.3}, "COOP": {"N_CTX": 16}}}
    assert own_settings({"method": "LinearProbe", "epoch": 5, "config": config}) == {"TRAINER.LINEAR_PROBE.C": "0.3"}
    plugin = {"TRAINER": {"NAME": "Mine", "OF_MINE": {"C": 0.3}, "COOP": {"N_CTX": 16}}}
    assert own_settings({"method": "Mine", "epoch": 5, "config": plugin}) == {"TRAINER.OF_MINE.C": "0.3"}


def test_a_method_that_learns_nothing_has_no_settings_of_training():
    config = {"OPTIM": {"LR": 0.1}, "INPUT": {"SIZE": [64, 64]}, "TRAINER": {"NAME": "ZeroshotCLIP"}}
    assert own_settings({"method": "ZeroshotCLIP", "epoch": None, "config": config}) == {"INPUT.SIZE": "[64, 64]"}


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
