"""What stands in each table, and how it is printed."""

import csv
import io
import json
import math
import shutil
import subprocess

import pytest

from mocoop.errors import DataError
from mocoop.protocol import ALIASES, PROTOCOLS
from mocoop.results.render import Cell, Table, cell_text, to_csv, to_latex, to_markdown
from mocoop.results.routing import that_route
from mocoop.results.runs import collect, join, runs_of, without_other_models
from mocoop.results.stats import over_seeds, seed_matrix, seeds_needed, summarise
from mocoop.results.tables import (
    ablation_table,
    base_new_table,
    few_shot_table,
    per_class_tables,
    protocol_tables,
    routing_table,
    seeds_table,
    table_by_dataset,
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
    table = base_new_table(runs)
    rows = markdown_rows(table)
    assert rows[0] == ["Dataset", "Method", "Base", "New", "H"]
    assert rows[2] == ["a", "CoOp", "**81.00 ± 1.41**", "61.00 ± 1.41", "69.59 ± 1.44"]
    assert rows[3] == ["a", "MoCoOp", "79.00 ± 0.00", "**71.00 ± 1.41**", "**74.79 ± 0.78**"]
    assert rows[5] == ["b", "MoCoOp", "79.00 ± 0.00", "–", "–"]
    assert [row[:2] for row in rows[6:]] == [["average", "CoOp"], ["average", "MoCoOp"]]
    assert rows[7][3:] == ["–", "–"]
    assert "b, MoCoOp: no new result for seed 2" in to_markdown(table)
    (best,) = [row[3] for row in table.rows if row and row[:2] == ["b", "CoOp"]]
    assert best.rank == 1  # of what is there
    assert len({len(line) for line in to_markdown(table).splitlines() if line.startswith("|")}) == 1


def test_cells_of_markdown():
    """Narrow columns, deviations that are not known or not asked for, minus signs, and bars in names."""
    table = Table("t", ["A", "H"], [["a", Cell(math.nan)], ["a|b", Cell(50.0)]])
    assert to_markdown(table).splitlines()[3] == "| ---- | ----: |"
    assert [line.split("| ")[-1].strip(" |") for line in to_markdown(table).splitlines()[4:6]] == ["–", "50.00"]
    assert r"| a\|b |" in to_markdown(table)
    assert to_markdown(Table("t", ["A", "H"], [["a", Cell(math.nan)]])).splitlines()[3] == "| --- | --: |"
    table = Table("t", ["Δ"], [[Cell(-0.001, None, signed=True)], [Cell(-0.006, None, signed=True)]])
    assert [row[0] for row in markdown_rows(table)[2:]] == ["+0.00", "−0.01"]


def test_one_number_is_rounded_alike_however_it_was_summed():
    of_seeds, of_answers = (64.85 + 64.8) / 2 - 1e-14, 64.825
    assert of_seeds < of_answers and cell_text(Cell(of_seeds)) == cell_text(Cell(of_answers)) == "64.83"


def test_configurations_and_shots_are_named_only_where_a_method_has_several(tmp_path):
    add_base_new(tmp_path / "cfgs", {1: 80.0}, {1: 60.0})
    for cfg in ("tiny", "tiny_dense"):
        add_base_new(tmp_path / "cfgs", {1: 80.0}, {1: 60.0}, method="MoCoOp", cfg=cfg)
    for shots in (0, 4, 16):
        add_base_new(tmp_path / "shots", {1: 80.0}, {1: 60.0}, shots=shots)
    add_base_new(tmp_path / "shots", {1: 80.0}, {1: 60.0}, shots=0, method="ZeroshotCLIP")
    names = {
        root: [row[1] for row in base_new_table(collect(tmp_path / root).frame).rows] for root in ("cfgs", "shots")
    }
    assert names["cfgs"] == ["CoOp", "MoCoOp tiny", "MoCoOp tiny_dense"]
    assert names["shots"] == ["ZeroshotCLIP", "CoOp, 4 shots", "CoOp, 16 shots", "CoOp, all images"]


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
    one = ablation_table(runs.query("method == 'MoCoOp' and cfg == 'tiny' and dataset == 'a'"), {"tiny": "MoCoOp"})
    assert one.columns == ["Variant", "Base, a", "New, a", "H, a"]  # without an average


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
    found = [(cell.mean, cell.spread) for cell in row[2:]]
    assert found == [pytest.approx((91.5, 0.5**0.5)), pytest.approx((51.5, 0.5**0.5))]
    assert "by chance in 50.0 %" in table.notes[0]


def test_csv_has_full_precision_and_empty_gaps_and_intervals_where_they_are_asked_for(runs):
    rows = list(csv.DictReader(io.StringIO(to_csv(base_new_table(runs)))))
    assert list(rows[0]) == ["Dataset", "Method", "Base", "Base std", "New", "New std", "H", "H std"]
    assert float(rows[0]["H"]) == 2 * 81 * 61 / 142
    assert rows[3]["New"] == rows[3]["H std"] == ""
    table = base_new_table(runs, spread="ci95")
    assert table.rows[0][2].spread == pytest.approx(12.7062 * 2**0.5 / 2**0.5, rel=1e-4)
    assert to_csv(table).splitlines()[0] == "Dataset,Method,Base,Base ci95,New,New ci95,H,H ci95"


def test_latex_marks_best_and_second_and_escapes(runs):
    latex = to_latex(base_new_table(runs))
    assert r"\begin{tabular}{llrrr}" in latex and r"\toprule" in latex
    assert r"a & CoOp & \textbf{81.00 $\pm$ 1.41} & \underline{61.00 $\pm$ 1.41}" in latex
    assert r"79.00 $\pm$ 0.00} & -- & -- \\" in latex
    table = Table("t", ["A"], [["shapes_both"], None, ["50 %"]])
    assert to_latex(table).count(r"\midrule") == 2
    assert r"shapes\_both" in to_latex(table) and r"50 \%" in to_latex(table)


def test_few_shot_table_has_a_column_per_number_of_shots(tmp_path):
    where = {"protocol": "few_shot", "phase": "train_all"}
    for dataset, lift in (("a", 0.0), ("b", 10.0)):
        add_run(tmp_path, 40.0 + lift, dataset=dataset, shots=0, method="ZeroshotCLIP", **where)
        for shots in (1, 16):
            add_run(tmp_path, 50.0 + lift + shots, dataset=dataset, shots=shots, **where)
    add_run(tmp_path, 60.0, dataset="a", shots=16, method="MoCoOp", **where)
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


def test_accuracy_and_transfer_tables_have_a_column_per_dataset_and_their_average(tmp_path):
    for dataset, accuracy in (("a", 50.0), ("b", 70.0)):
        add_run(tmp_path, accuracy, protocol="xd", phase="test", dataset=dataset)
    runs = collect(tmp_path).frame
    rows = markdown_rows(table_by_dataset(over_seeds(seed_matrix(runs)), runs, "Accuracy"))
    assert [rows[0], rows[2]] == [["Method", "a", "b", "average"], ["CoOp", "50.00", "70.00", "60.00"]]
    add_run(tmp_path, 80.0, protocol="xd", phase="train", dataset="imagenet")
    (table,) = protocol_tables(collect(tmp_path).frame, "xd")
    rows = markdown_rows(table)
    assert rows[0] == ["Method", "imagenet (source)", "a", "b", "average"]
    assert rows[2] == ["CoOp", "80.00", "50.00", "70.00", "60.00"]


def test_a_number_without_a_spread_has_no_column_of_it_and_latex_escapes_whatever_it_must():
    table = Table("t", ["Name", "Ours", "Δ"], [["a", Cell(50.0, 1.0), Cell(-0.5, None, signed=True)]])
    assert to_csv(table).splitlines() == ["Name,Ours,Ours std,Δ", "a,50.0,1.0,-0.5"]
    assert markdown_rows(table)[2] == ["a", "50.00 ± 1.00", "−0.50"]
    assert r"a & 50.00 $\pm$ 1.00 & $-$0.50 \\" in to_latex(table)
    escaped = r"\textbackslash{} \{ \} \$ \& \# \textasciicircum{} \_ \textasciitilde{} \% "
    escaped += r"\textless{} \textgreater{} {[}x{]} \\"
    assert escaped in to_latex(Table("t", ["A"], [["\\ { } $ & # ^ _ ~ % < > [x]"]])).splitlines()


def test_a_method_bound_to_its_classes_has_a_named_gap_and_what_training_knew_a_footnote(tmp_path):
    """Of the training: a test on new classes does not see what it was taught."""
    add_base_new(tmp_path, {1: 80.0, 2: 82.0}, {1: 60.0, 2: 62.0}, dataset="a")
    add_base_new(tmp_path, {1: 79.0}, {}, dataset="a", method="LinearProbe")
    frame = collect(tmp_path).frame
    table = base_new_table(frame)
    assert markdown_rows(table)[3] == ["a", "LinearProbe", "–", "–", "–"]
    assert table.notes[1:] == [
        "a, LinearProbe: no base result for seed 2",
        "LinearProbe: no result on new classes, as it tells only the trained ones apart",
    ]
    frame = frame[frame.method == "CoOp"].copy()
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


PHASES = {name: [phase.folder for phase in protocol.phases] for name, protocol in PROTOCOLS.items()}


@pytest.fixture
def of_every_phase(tmp_path):
    """One run of every protocol and phase, and of a phase that belongs to none."""
    for place in {place for places in PHASES.values() for place in places} | {"base2new/test_base"}:
        protocol, phase = place.split("/")
        add_run(tmp_path, 50.0, protocol=protocol, phase=phase)
    return collect(tmp_path).frame


TITLES = {
    "base2new": "Base to new classes",
    "base2new_all": "Base and new classes among all names",
    "few_shot": "Few-shot",
    "xd": "Cross-dataset transfer",
    "dg": "Domain generalization",
}


def test_a_protocol_has_its_phases_alone_and_its_tables(of_every_phase):
    assert set(ALIASES.values()) <= set(PHASES) == set(TITLES)
    for protocol, title in TITLES.items():
        chosen = runs_of(of_every_phase, protocol)
        assert sorted(chosen.protocol + "/" + chosen.phase) == sorted(PHASES[protocol])
        assert [table.title for table in protocol_tables(chosen, protocol)] == [title]
        assert len(summarise(chosen, protocol)) >= 1


def test_trainings_that_dg_does_not_test_are_not_its(tmp_path):
    for cfg in ("a", "b"):
        add_run(tmp_path, 50.0, protocol="xd", phase="train", cfg=cfg)
    add_run(tmp_path, 50.0, protocol="dg", phase="test", dataset="other", cfg="b")
    assert set(runs_of(collect(tmp_path).frame, "dg").cfg) == {"b"}
    assert len(runs_of(collect(tmp_path).frame, "xd")) == 2
    add_run(tmp_path / "joined", 50.0, dataset="a", cfg="a")  # where each dataset is trained on
    add_run(tmp_path / "joined", 50.0, dataset="b", cfg="b")
    frame = collect(tmp_path / "joined").frame
    assert join(frame, "base2new")[0].cfg.nunique() == 1 and join(frame, "xd")[0].cfg.nunique() == 2


def test_what_cannot_be_tested_among_all_names_is_a_named_gap(tmp_path):
    add_run(tmp_path, 90.0, method="LinearProbe")
    add_run(tmp_path, 80.0)
    sides = {"base_accuracy": 60.0, "new_accuracy": 50.0}
    add_run(tmp_path, 55.0, protocol="base2new_all", phase="test_all", sides=sides)
    (table,) = protocol_tables(runs_of(collect(tmp_path).frame, "base2new_all"), "base2new_all")
    assert [row[1] for row in table.rows] == ["CoOp", "LinearProbe"]
    assert table.notes[1:] == ["LinearProbe: no result on new classes, as it tells only the trained ones apart"]


def test_routing_follows_base_to_new_and_every_table_expects_the_seeds_that_occur_anywhere(tmp_path):
    for seed in (1, 2, 3):
        add_run(tmp_path, 80.0, seed=seed)
    for seed in (1, 2):
        add_run(tmp_path, 80.0, method="MoCoOp", seed=seed, routing=make_routing(["photo", "dark"], 1, 94.0))
    tables = protocol_tables(collect(tmp_path).frame, "base2new")
    assert [table.title for table in tables] == ["Base to new classes", "Routing"]
    for table in tables:
        assert all(math.isnan(row[2].mean) for row in table.rows if row[1] != "CoOp"), table.title


def test_a_test_of_another_model_has_no_routing_either(tmp_path):
    routing = make_routing(["photo", "dark"], 1, 94.0)
    for phase, weights in (("train_base", "a" * 64), ("test_new", "b" * 64)):
        add_run(tmp_path, 80.0, phase=phase, routing=routing, weights_sha256=weights)
    runs, problems = without_other_models(collect(tmp_path).frame, "base2new")
    lacks = runs.set_index("phase")["domain_in_top_k"].isna().to_dict()
    assert len(problems) == 1 and lacks == {"test_new": True, "train_base": False}
    assert that_route(runs)["phase"].tolist() == ["train_base"]


def add_classes(root, accuracies, **where):
    """A run whose classes, of two images each, have these accuracies; returns its folder."""
    folder = add_run(root, 50.0, **where)
    record = json.loads((folder / "result.json").read_text())
    record["per_class"] = [
        {"label": label, "classname": name, "total": 2 if value is not None else 0, "correct": 0, "accuracy": value}
        for label, (name, value) in enumerate(accuracies)
    ]
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def test_classes_stand_in_label_order_beside_each_method(tmp_path):
    for seed, zebra in ((1, 50.0), (2, 100.0)):
        add_classes(tmp_path, [("zebra", zebra), ("ant", 0.0)], seed=seed)
        add_classes(tmp_path, [("zebra", 0.0), ("ant", 50.0)], seed=seed, method="MoCoOp")
    (table,) = per_class_tables(collect(tmp_path).frame)
    assert table.title == "shapes_both, train_base, per class"
    assert table.columns == ["Class", "Images", "CoOp", "MoCoOp"]
    assert [row[:2] for row in table.rows] == [["zebra", "2"], ["ant", "2"]]
    assert "| zebra | 2 | **75.00 ± 35.36** | 0.00 ± 0.00 |" in " ".join(to_markdown(table).split())
    for seed in (1, 2):
        add_classes(tmp_path, [("crane", 50.0), ("crane", 100.0)], phase="test_new", seed=seed)  # two stay two
    add_classes(tmp_path, [("dog", 50.0)], dataset="other")
    tables = {table.title.removesuffix(", per class"): table for table in per_class_tables(collect(tmp_path).frame)}
    assert set(tables) == {"other, train_base", "shapes_both, test_new", "shapes_both, train_base"}
    cranes = tables["shapes_both, test_new"].rows
    assert [(row[0], row[2].mean) for row in cranes] == [("crane", 50.0), ("crane", 100.0)]


def test_a_class_without_images_and_a_missing_seed_are_gaps(tmp_path):
    add_classes(tmp_path, [("cat", 50.0), ("dog", None)], seed=1)
    folder = add_classes(tmp_path, [("cat", 50.0), ("dog", None)], seed=2, method="MoCoOp")
    add_classes(tmp_path, [("cat", 100.0), ("dog", None)], seed=1, method="MoCoOp")
    (table,) = per_class_tables(collect(tmp_path).frame)
    cells = {(row[0], method): cell.mean for row in table.rows for method, cell in zip(table.columns[2:], row[2:])}
    assert cells["cat", "MoCoOp"] == 75.0 and math.isnan(cells["cat", "CoOp"]) and math.isnan(cells["dog", "MoCoOp"])
    assert "shapes_both, CoOp: no result for seed 2" in table.notes
    (folder / "result.json").unlink()
    with pytest.raises(DataError, match="a log.txt does not say its classes"):
        per_class_tables(collect(folder).with_gaps())


def test_seeds_follow_the_pooled_deviation_of_what_learns(tmp_path):
    same = {1: 60.0, 2: 60.0, 3: 60.0}
    add_base_new(tmp_path, {1: 80.0, 2: 81.0, 3: 82.0}, same, dataset="dtd")
    add_base_new(tmp_path, {1: 80.0, 2: 82.0, 3: 84.0}, same, dataset="dtd", method="MoCoOp")
    add_base_new(tmp_path, {1: 70.0, 2: 70.0, 3: 70.0}, {1: 60.0}, dataset="dtd", method="ZeroshotCLIP", shots=0)
    frame = collect(tmp_path).frame
    table = seeds_table(frame, "base2new")
    assert table.columns == ["Dataset", "Base", "New", "H"]
    deviation = ((1.0 + 4.0) / 2) ** 0.5
    assert table.rows[0][:3] == ["dtd", f"{seeds_needed(deviation)} ({deviation:.2f})", "2 (0.00)"]
    for one_seed in (frame[frame.seed == 1], frame[(frame.seed == 1) & (frame.phase == "test_new")]):
        assert seeds_table(one_seed, "base2new") is None


DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\parindent0pt
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_tables_compile_with_booktabs(tmp_path):
    cells = [Cell(71.234, 0.5, 1), Cell(-1.5, None, 2, signed=True), Cell(float("nan"))]
    long = "[best]† <0.001> Δ – ± of a name that is longer than any line of a page can be, by far"
    rows = [["a_b & 100 % #1 {x} $y$ ~^\\", *cells], None, [long, *cells]]
    table = Table("Base_to new & H", ["Data_set", "H", "Δ H", "p (%)"], rows, ["one % note & _more_"])
    (tmp_path / "table.tex").write_text(DOCUMENT % to_latex(table), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "table.pdf").stat().st_size > 1000
