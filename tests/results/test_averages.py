"""Both averages of H, averages without some data sets, the area and the calibration in tables, and plans."""

import json
import math

import numpy as np
import pytest

from mocoop.results.calibration import Calibration, write_calibration
from mocoop.results.runs import collect
from mocoop.results.stats import base_to_new
from mocoop.results.tables import averages_table, base_new_table, calibration_table
from tests.results.runs import add_answers, add_base_new, add_run
from tests.tools.tool import Tool

NUMBERS = {"shapes_both": ((80.0, 82.0), (60.0, 66.0)), "shapes_color": ((50.0, 51.0), (90.0, 84.0))}


def h(base, new):
    return 2 * base * new / (base + new)


@pytest.fixture
def tree(tmp_path):
    for dataset, (base, new) in NUMBERS.items():
        add_base_new(tmp_path, dict(enumerate(base, 1)), dict(enumerate(new, 1)), dataset=dataset)
    return tmp_path


def test_h_of_means_and_the_mean_of_h_are_two_numbers_with_two_names(tree):
    table = averages_table(collect(tree).frame)
    of_means = h(np.mean([80, 82, 50, 51]), np.mean([60, 66, 90, 84]))
    each = [[h(b, n) for b, n in zip(base, new)] for base, new in NUMBERS.values()]
    of_sets = [h(np.mean(base), np.mean(new)) for base, new in NUMBERS.values()]
    ((_, first, second, spread, ends),) = table.rows
    assert table.columns[1:3] == ["H of means", "Mean of H"]
    assert (first.mean, second.mean) == pytest.approx((of_means, np.mean(each)))
    assert second.spread == pytest.approx(np.std(np.mean(each, axis=0), ddof=1))
    assert spread.mean == pytest.approx(np.std(of_sets, ddof=1))
    assert ends == f"shapes_color {of_sets[1]:.2f}, shapes_both {of_sets[0]:.2f}"
    summary = base_to_new(collect(tree).frame).xs("shapes_both", level="dataset").iloc[0]
    assert summary["mean_h"] == pytest.approx(np.mean(each[0]))


def test_a_missing_seed_leaves_no_average(tree):
    add_base_new(tree, {1: 70.0, 2: 71.0}, {1: 60.0}, dataset="shapes_both", method="MoCoOp")
    add_base_new(tree, {1: 70.0, 2: 71.0}, {1: 60.0, 2: 61.0}, dataset="shapes_color", method="MoCoOp")
    rows = {row[0]: row for row in averages_table(collect(tree).frame).rows}
    assert math.isnan(rows["MoCoOp"][1].mean) and math.isnan(rows["MoCoOp"][2].mean) and rows["MoCoOp"][4] == "–"
    assert not math.isnan(rows["CoOp"][2].mean)


def test_one_data_set_has_no_averages(tree, capsys):
    table = Tool("table", capsys)
    assert "### Averages over 2 data sets" in table(tree)[1]
    status, out, _ = table(tree, "--without", "ShapesColor")
    assert status == 0 and "Averages" not in out and "shapes_color" not in out and "Without ShapesColor." in out
    status, _, err = table(tree, "--without", "EuroSAT")
    expected = "got --without EuroSAT, expected data sets that there are runs of: shapes_both, shapes_c"
    assert status == 2 and expected in err


def test_the_area_stands_beside_the_accuracy_of_a_test_of_both_sides(tmp_path, tree):
    where = {"protocol": "base2new_all", "phase": "test_all"}
    for seed, area in ((1, 40.0), (2, 50.0)):
        sides = {"base_accuracy": 60.0, "new_accuracy": 40.0, "base_new_area": area}
        add_run(tmp_path / "all", 50.0, seed=seed, sides=sides, **where)
    table = base_new_table(collect(tmp_path / "all").frame)
    assert table.columns[-1] == "Area" and table.rows[0][-1].mean == 45.0
    assert "one number is added to the scores of all new classes" in table.notes[0]
    assert base_new_table(collect(tree).frame.query("protocol == 'base2new'")).columns[-1] == "H"


def test_calibration_errors_before_and_after(tree, capsys):
    for number, folder in enumerate(sorted(tree.glob("base2new/*/shapes_both/*/*/*/seed*"))):
        record = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(record | {"weights_sha256": "a" * 64}))
        weights = "a" * 64 if number else "b" * 64  # the first is of a model that was replaced
        write_calibration(folder, Calibration(0.5, 80, None, 1.0, 0.9, 3.0, 1.0 + number, weights))
    frame = collect(tree).frame
    table = calibration_table(frame[frame["dataset"] == "shapes_both"])
    rows = {row[1]: [cell.mean for cell in row[3:]] for row in table.rows}
    assert rows["base classes"] == [3.0, 3.5, 0.5]
    assert rows["new classes"][0] == 3.0 and math.isnan(rows["new classes"][1])
    assert table.notes[1] == "1 of 4 runs have no temperature: mocoop calibrate RUN fits one"
    out = Tool("table", capsys)(tree, "--calibration", "--datasets", "shapes_both")[1]
    assert "### Calibration" in out and "| shapes_both | base classes | CoOp   | 3.00 ± 0.00 | 3.50 ± 0.71 |" in out


def test_a_plan_says_what_seeds_would_show(tmp_path, capsys):
    for dataset in NUMBERS:
        for seed in (1, 2, 3):
            add_answers(tmp_path, "CoOp", 0.5 + 0.02 * seed, seed, dataset=dataset, phase="train_base")
            add_answers(tmp_path, "MoCoOp", 0.72 - 0.02 * seed, seed, dataset=dataset, phase="train_base")
    compare = Tool("compare", capsys)
    status, out, _ = compare("MoCoOp", "CoOp", "--on", tmp_path, "--plan", "3,8", "--format", "csv")
    head, *rows = (line.split(",") for line in out.splitlines())
    assert status == 0 and head == ["Dataset", "Measure", "Difference so far", "3 seeds", "8 seeds", "any number"]
    points = {row[0]: list(map(float, row[2:])) for row in rows}
    assert list(points) == ["shapes_both", "shapes_color", "average"]
    assert all(three > eight > endless > 0 for _, three, eight, endless in points.values())
    assert points["average"][1] < points["shapes_both"][1]
    status, out, _ = compare("MoCoOp", "CoOp", "--on", tmp_path, "--plan", "--without", "shapes-color")
    assert status == 0 and "20 seeds" in out and "average" not in out and "Without shapes-color." in out
    status, _, err = compare("MoCoOp", "CoOp", "--on", tmp_path, "--plan", "1")
    assert status == 2 and "got --plan 1, expected 2 seeds or more" in err
    status, _, err = compare("MoCoOp", "CoOp", "--on", tmp_path, "--plan", "--seeds", "1")
    assert status == 2 and "MoCoOp and CoOp share one seed, expected two or more" in err
