import json

import pytest

from mocoop.errors import DataError
from mocoop.results.by_protocol import per_class_tables
from mocoop.results.collect import collect
from mocoop.results.render import to_markdown
from tests.results.runs import add_run


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


def test_two_classes_of_one_name_stay_two(tmp_path):
    add_classes(tmp_path, [("crane", 50.0), ("crane", 100.0)])
    (table,) = per_class_tables(collect(tmp_path).frame)
    assert [(row[0], row[2].mean) for row in table.rows] == [("crane", 50.0), ("crane", 100.0)]


def test_a_class_without_images_and_a_missing_seed_are_gaps(tmp_path):
    add_classes(tmp_path, [("cat", 50.0), ("dog", None)], seed=1)
    add_classes(tmp_path, [("cat", 50.0), ("dog", None)], seed=2, method="MoCoOp")
    add_classes(tmp_path, [("cat", 100.0), ("dog", None)], seed=1, method="MoCoOp")
    (table,) = per_class_tables(collect(tmp_path).frame)
    cells = {(row[0], method): cell.mean for row in table.rows for method, cell in zip(table.columns[2:], row[2:])}
    assert cells["cat", "MoCoOp"] == 75.0 and cells["cat", "CoOp"] != cells["cat", "CoOp"]
    assert cells["dog", "MoCoOp"] != cells["dog", "MoCoOp"]
    assert "shapes_both, CoOp: no result for seed 2" in table.notes


def test_each_dataset_and_phase_has_a_table(tmp_path):
    add_classes(tmp_path, [("cat", 50.0)])
    add_classes(tmp_path, [("dog", 50.0)], phase="test_new")
    add_classes(tmp_path, [("dog", 50.0)], dataset="other")
    titles = [table.title.removesuffix(", per class") for table in per_class_tables(collect(tmp_path).frame)]
    assert sorted(titles) == ["other, train_base", "shapes_both, test_new", "shapes_both, train_base"]


def test_runs_without_a_record_are_an_error(tmp_path):
    (add_run(tmp_path, 50.0) / "result.json").unlink()
    with pytest.raises(DataError, match="a log.txt does not say its classes"):
        per_class_tables(collect(tmp_path).with_gaps())
