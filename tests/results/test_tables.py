import csv
import io
import math

import pytest

from mocoop.results.render import Cell, Table, to_csv, to_latex, to_markdown
from mocoop.results.runs import collect
from mocoop.results.tables import (
    ablation_table,
    accuracy_table,
    base_new_table,
    few_shot_table,
    routing_table,
    transfer_table,
)
from tests.results.runs import add_base_new, add_run, make_routing


@pytest.fixture
def runs(tmp_path):
    """Two methods on two datasets over two seeds; MoCoOp lacks one new result on b."""
    for dataset, lift in (("a", 0.0), ("b", 4.0)):
        add_base_new(tmp_path, {1: 80.0 + lift, 2: 82.0 + lift}, {1: 60.0, 2: 62.0}, dataset=dataset)
    add_base_new(tmp_path, {1: 79.0, 2: 79.0}, {1: 70.0, 2: 72.0}, dataset="a", method="MoCoOp")
    add_base_new(tmp_path, {1: 79.0, 2: 79.0}, {1: 70.0}, dataset="b", method="MoCoOp")
    return collect(tmp_path).frame


def markdown_rows(table):
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    return [[item.strip() for item in line.strip("|").split("|")] for line in lines]


def test_base_new_table_in_markdown(runs):
    rows = markdown_rows(base_new_table(runs))
    assert rows[0] == ["Dataset", "Method", "Base", "New", "H"]
    assert rows[2] == ["a", "CoOp", "**81.00 ± 1.41**", "61.00 ± 1.41", "69.59 ± 1.44"]
    assert rows[3] == ["a", "MoCoOp", "79.00 ± 0.00", "**71.00 ± 1.41**", "**74.79 ± 0.78**"]
    assert rows[5] == ["b", "MoCoOp", "79.00 ± 0.00", "–", "–"]
    assert [row[:2] for row in rows[6:]] == [["average", "CoOp"], ["average", "MoCoOp"]]
    assert rows[7][3:] == ["–", "–"]


def test_a_gap_is_explained_below_the_table(runs):
    assert "b, MoCoOp: no new result for seed 2" in to_markdown(base_new_table(runs))


def test_the_best_of_a_block_with_gaps_is_the_best_of_what_is_there(runs):
    row = next(row for row in base_new_table(runs).rows if row and row[:2] == ["b", "CoOp"])
    assert row[3].rank == 1


def test_columns_of_the_markdown_source_line_up(runs):
    lengths = {len(line) for line in to_markdown(base_new_table(runs)).splitlines() if line.startswith("|")}
    assert len(lengths) == 1


def test_the_rule_of_a_narrow_column_is_still_a_rule():
    rule = to_markdown(Table("t", ["A", "H"], [["a", Cell(math.nan)]])).splitlines()[3]
    assert rule == "| --- | --: |"


def test_configurations_are_named_only_where_a_method_has_several(tmp_path):
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0})
    for cfg in ("tiny", "tiny_dense"):
        add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, method="MoCoOp", cfg=cfg)
    names = [row[1] for row in base_new_table(collect(tmp_path).frame).rows]
    assert names == ["CoOp", "MoCoOp tiny", "MoCoOp tiny_dense"]


def test_shots_are_named_only_where_there_are_several(tmp_path):
    for shots in (0, 4, 16):
        add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, shots=shots)
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, shots=0, method="ZeroshotCLIP")
    names = [row[1] for row in base_new_table(collect(tmp_path).frame).rows]
    assert names == ["ZeroshotCLIP", "CoOp, 4 shots", "CoOp, 16 shots", "CoOp, all images"]


def test_ablation_table_keeps_the_order_of_its_labels(tmp_path):
    for dataset in ("a", "b"):
        for cfg, new in (("tiny", 70.0), ("tiny_dense", 60.0)):
            add_base_new(tmp_path, {1: 80.0}, {1: new}, dataset=dataset, method="MoCoOp", cfg=cfg)
        add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, dataset=dataset)
    runs = collect(tmp_path).frame
    table = ablation_table(runs[runs.method == "MoCoOp"], {"tiny_dense": "dense", "tiny": "MoCoOp"})
    assert table.columns == ["Variant", "H, a", "H, b", "Base, average", "New, average", "H, average"]
    assert [row[0] for row in table.rows] == ["dense", "MoCoOp"]
    assert [row[4].mean for row in table.rows] == [60.0, 70.0]


def test_ablation_table_of_one_dataset_has_no_average(tmp_path):
    add_base_new(tmp_path, {1: 80.0}, {1: 60.0}, method="MoCoOp")
    table = ablation_table(collect(tmp_path).frame, {"tiny": "MoCoOp"})
    assert table.columns == ["Variant", "Base, shapes_both", "New, shapes_both", "H, shapes_both"]


def test_routing_table_shows_each_router_beside_chance(tmp_path):
    groups = ["photo", "sketch", "dark", "small"]
    for cfg, share in (("tiny", 90.0), ("tiny_random_router", 50.0)):
        for seed in (1, 2):
            routing = make_routing(groups, 2, share + seed)
            add_run(tmp_path, 70.0, method="MoCoOp", cfg=cfg, seed=seed, routing=routing)
    add_run(tmp_path, 70.0)
    table = routing_table(collect(tmp_path).frame)
    assert table.columns == ["Dataset", "Images", "MoCoOp tiny", "MoCoOp tiny_random_router"]
    (row,) = table.rows
    assert row[:2] == ["shapes_both", "base classes"]
    assert [(cell.mean, cell.spread) for cell in row[2:]] == [
        pytest.approx((91.5, 0.5**0.5)),
        pytest.approx((51.5, 0.5**0.5)),
    ]
    assert "by chance in 50.0 %" in table.notes[0]


def test_accuracy_table_has_a_column_per_dataset_and_the_average(tmp_path):
    for dataset, accuracy in (("a", 50.0), ("b", 70.0)):
        add_run(tmp_path, accuracy, protocol="xd", phase="test", dataset=dataset)
    rows = markdown_rows(accuracy_table(collect(tmp_path).frame))
    assert rows[0] == ["Method", "a", "b", "average"]
    assert rows[2] == ["CoOp", "50.00", "70.00", "60.00"]


def test_csv_has_full_precision_and_empty_gaps(runs):
    rows = list(csv.DictReader(io.StringIO(to_csv(base_new_table(runs)))))
    assert list(rows[0]) == ["Dataset", "Method", "Base", "Base std", "New", "New std", "H", "H std"]
    assert float(rows[0]["H"]) == 2 * 81 * 61 / 142
    assert rows[3]["New"] == rows[3]["H std"] == ""


def test_latex_marks_best_and_second_and_escapes(runs):
    latex = to_latex(base_new_table(runs))
    assert r"\begin{tabular}{llrrr}" in latex and r"\toprule" in latex
    assert r"a & CoOp & \textbf{81.00 $\pm$ 1.41} & \underline{61.00 $\pm$ 1.41}" in latex
    assert r"79.00 $\pm$ 0.00} & -- & -- \\" in latex
    table = Table("t", ["A"], [["shapes_both"], None, ["50 %"]])
    assert to_latex(table).count(r"\midrule") == 2
    assert r"shapes\_both" in to_latex(table) and r"50 \%" in to_latex(table)


def test_a_deviation_that_is_not_known_is_not_printed():
    table = Table("t", ["Name", "Value"], [["a", Cell(50.0)], ["b", Cell(math.nan)]])
    assert [row[1] for row in markdown_rows(table)[2:]] == ["50.00", "–"]


def test_few_shot_table_has_a_column_per_number_of_shots(tmp_path):
    for dataset, lift in (("a", 0.0), ("b", 10.0)):
        add_run(
            tmp_path,
            40.0 + lift,
            protocol="few_shot",
            dataset=dataset,
            shots=0,
            method="ZeroshotCLIP",
            phase="train_all",
        )
        for shots in (1, 16):
            add_run(tmp_path, 50.0 + lift + shots, protocol="few_shot", dataset=dataset, shots=shots, phase="train_all")
    add_run(tmp_path, 60.0, protocol="few_shot", dataset="a", shots=16, method="MoCoOp", phase="train_all")
    table = few_shot_table(collect(tmp_path).frame)
    rows = markdown_rows(table)
    assert rows[0] == ["Dataset", "Method", "0 shots", "1 shot", "16 shots"]
    assert rows[2:5] == [
        ["a", "ZeroshotCLIP", "40.00", "–", "–"],
        ["a", "CoOp", "–", "51.00", "**66.00**"],
        ["a", "MoCoOp", "–", "–", "60.00"],
    ]
    assert rows[8:] == [
        ["average", "ZeroshotCLIP", "45.00", "–", "–"],
        ["average", "CoOp", "–", "56.00", "**71.00**"],
        ["average", "MoCoOp", "–", "–", "–"],
    ]
    assert table.notes[1:] == ["b, MoCoOp, 16 shots: no result"]


def test_transfer_table_starts_with_the_source(tmp_path):
    add_run(tmp_path, 70.0, protocol="xd", phase="train", dataset="imagenet")
    for dataset, accuracy in (("a", 50.0), ("b", 60.0)):
        add_run(tmp_path, accuracy, protocol="xd", phase="test", dataset=dataset)
    rows = markdown_rows(transfer_table(collect(tmp_path).frame))
    assert rows[0] == ["Method", "imagenet (source)", "a", "b", "average"]
    assert rows[2] == ["CoOp", "70.00", "50.00", "60.00", "55.00"]


def test_the_interval_is_printed_where_it_is_asked_for(runs):
    row = base_new_table(runs, spread="ci95").rows[0]
    assert row[2].spread == pytest.approx(12.7062 * 2**0.5 / 2**0.5, rel=1e-4)
    header = to_csv(base_new_table(runs, spread="ci95")).splitlines()[0]
    assert header == "Dataset,Method,Base,Base ci95,New,New ci95,H,H ci95"


def test_a_number_without_a_spread_has_no_column_of_it():
    table = Table("t", ["Name", "Ours", "Δ"], [["a", Cell(50.0, 1.0), Cell(-0.5, None, signed=True)]])
    assert to_csv(table).splitlines() == ["Name,Ours,Ours std,Δ", "a,50.0,1.0,-0.5"]
    assert markdown_rows(table)[2] == ["a", "50.00 ± 1.00", "−0.50"]
    assert r"a & 50.00 $\pm$ 1.00 & $-$0.50 \\" in to_latex(table)


def test_latex_escapes_whatever_it_must():
    table = Table("t", ["A"], [["\\ { } $ & # ^ _ ~ % < > [x]"]])
    escaped = r"\textbackslash{} \{ \} \$ \& \# \textasciicircum{} \_ \textasciitilde{} \% "
    escaped += r"\textless{} \textgreater{} {[}x{]} \\"
    assert escaped in to_latex(table).splitlines()


def test_a_bar_in_a_name_does_not_end_its_markdown_cell():
    assert r"| a\|b |" in to_markdown(Table("t", ["Name"], [["a|b"]]))


def test_a_difference_of_nothing_has_no_minus():
    table = Table("t", ["Δ"], [[Cell(-0.001, None, signed=True)], [Cell(-0.006, None, signed=True)]])
    assert [row[0] for row in markdown_rows(table)[2:]] == ["+0.00", "−0.01"]


def test_a_method_bound_to_its_classes_has_a_named_gap(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 82.0}, {1: 60.0, 2: 62.0}, dataset="a")
    add_base_new(tmp_path, {1: 79.0}, {}, dataset="a", method="LinearProbe")
    table = base_new_table(collect(tmp_path).frame)
    assert markdown_rows(table)[3] == ["a", "LinearProbe", "–", "–", "–"]
    assert table.notes[1:] == [
        "a, LinearProbe: no base result for seed 2",
        "LinearProbe: no result on new classes, as it tells only the trained ones apart",
    ]


def test_what_training_knew_is_a_footnote(tmp_path):
    """Of the training: a test on new classes does not see what it was taught."""
    add_base_new(tmp_path, {1: 80.0}, {1: 70.0})
    frame = collect(tmp_path).frame
    frame["knowledge"] = frame["phase"].map({"train_base": "names of the new classes", "test_new": "less"})
    assert base_new_table(frame).notes[1:] == ["CoOp also uses: names of the new classes"]


def test_all_training_images_are_no_zero_shots(tmp_path):
    """DATASET.NUM_SHOTS 0 and -1 mean all images; an unfinished run of them is a gap in its column."""
    for shots in (0, 16):
        add_run(tmp_path, 50.0 + shots, protocol="few_shot", phase="train_all", shots=shots)
    add_run(tmp_path, 40.0, protocol="few_shot", phase="train_all", shots=-1, method="TCP")
    add_run(tmp_path, 30.0, protocol="few_shot", phase="train_all", shots=0, method="ZeroshotCLIP")
    (add_run(tmp_path, 30.0, protocol="few_shot", phase="train_all", shots=0, method="MaPLe") / "result.json").unlink()
    table = few_shot_table(collect(tmp_path).with_gaps())
    assert table.columns[2:] == ["0 shots", "16 shots", "all images"]
    means = {row[1]: [cell.mean for cell in row[2:]] for row in table.rows}
    assert means["CoOp"][1:] == [66.0, 50.0] and means["TCP"][2] == 40.0 and means["ZeroshotCLIP"][0] == 30.0
    assert math.isnan(means["CoOp"][0]) and "MaPLe" in means


def test_more_shots_than_a_class_has_are_a_line_below_the_table(tmp_path):
    for shots, found in ((1, [1, 1]), (16, [5, 16]), (0, [5, 40])):
        add_run(tmp_path, 50.0, shots=shots, protocol="few_shot", phase="train_all", more={"train_per_class": found})
    notes = few_shot_table(collect(tmp_path).frame).notes
    line = "shapes_both, 16 shots: a class had 5 to 16 training images, and all were used"
    assert [note for note in notes if "training images" in note] == [line]
