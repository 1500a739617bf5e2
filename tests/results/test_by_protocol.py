import json
import math

import pytest

from mocoop.errors import DataError
from mocoop.protocol import ALIASES, PROTOCOLS
from mocoop.results.render import to_markdown
from mocoop.results.routing import that_route
from mocoop.results.runs import collect, join, runs_of, without_other_models
from mocoop.results.stats import seeds_needed, summarise
from mocoop.results.tables import per_class_tables, protocol_tables, seeds_table
from tests.results.runs import add_base_new, add_run, make_routing

PHASES = {name: [phase.folder for phase in protocol.phases] for name, protocol in PROTOCOLS.items()}


@pytest.fixture
def runs(tmp_path):
    """One run of every protocol and phase, and of a phase that belongs to none."""
    for place in {place for places in PHASES.values() for place in places} | {"base2new/test_base"}:
        protocol, phase = place.split("/")
        add_run(tmp_path, 50.0, protocol=protocol, phase=phase)
    return collect(tmp_path).frame


@pytest.mark.parametrize("protocol", PHASES)
def test_a_protocol_has_its_phases_alone(runs, protocol):
    chosen = runs_of(runs, protocol)
    assert sorted(chosen.protocol + "/" + chosen.phase) == sorted(PHASES[protocol])


def test_aliases_mean_protocols():
    assert set(ALIASES.values()) <= set(PHASES)


def test_trainings_that_dg_does_not_test_are_not_its(tmp_path):
    for cfg in ("a", "b"):
        add_run(tmp_path, 50.0, protocol="xd", phase="train", cfg=cfg)
    add_run(tmp_path, 50.0, protocol="dg", phase="test", dataset="other", cfg="b")
    assert set(runs_of(collect(tmp_path).frame, "dg").cfg) == {"b"}
    assert len(runs_of(collect(tmp_path).frame, "xd")) == 2


def test_configurations_are_joined_where_each_dataset_is_trained_on(tmp_path):
    add_run(tmp_path, 50.0, dataset="a", cfg="a")
    add_run(tmp_path, 50.0, dataset="b", cfg="b")
    frame = collect(tmp_path).frame
    assert join(frame, "base2new")[0].cfg.nunique() == 1 and join(frame, "xd")[0].cfg.nunique() == 2


@pytest.mark.parametrize(
    "protocol, titles",
    [
        ("base2new", ["Base to new classes"]),
        ("base2new_all", ["Base and new classes among all names"]),
        ("few_shot", ["Few-shot"]),
        ("xd", ["Cross-dataset transfer"]),
        ("dg", ["Domain generalization"]),
    ],
)
def test_tables_of_a_protocol(runs, protocol, titles):
    chosen = runs_of(runs, protocol)
    assert [table.title for table in protocol_tables(chosen, protocol)] == titles
    assert len(summarise(chosen, protocol)) >= 1


def test_routing_follows_base_to_new(tmp_path):
    add_base_new(tmp_path, {1: 50.0}, {1: 50.0})
    routing = make_routing(["photo", "dark"], 1, 94.0)
    add_run(tmp_path, 80.0, method="MoCoOp", routing=routing)
    titles = [table.title for table in protocol_tables(collect(tmp_path).frame, "base2new")]
    assert titles == ["Base to new classes", "Routing"]


def test_what_cannot_be_tested_among_all_names_is_a_named_gap(tmp_path):
    add_run(tmp_path, 90.0, method="LinearProbe")
    add_run(tmp_path, 80.0)
    sides = {"base_accuracy": 60.0, "new_accuracy": 50.0}
    add_run(tmp_path, 55.0, protocol="base2new_all", phase="test_all", sides=sides)
    (table,) = protocol_tables(runs_of(collect(tmp_path).frame, "base2new_all"), "base2new_all")
    assert [row[1] for row in table.rows] == ["CoOp", "LinearProbe"]
    assert table.notes[1:] == ["LinearProbe: no result on new classes, as it tells only the trained ones apart"]


def test_every_table_expects_the_seeds_that_occur_anywhere(tmp_path):
    for seed in (1, 2, 3):
        add_run(tmp_path, 80.0, seed=seed)
    for seed in (1, 2):
        add_run(tmp_path, 80.0, method="MoCoOp", seed=seed, routing=make_routing(["photo", "dark"], 1, 94.0))
    for table in protocol_tables(collect(tmp_path).frame, "base2new"):
        assert all(math.isnan(row[2].mean) for row in table.rows if row[1] != "CoOp"), table.title


def test_a_test_of_another_model_has_no_routing_either(tmp_path):
    routing = make_routing(["photo", "dark"], 1, 94.0)
    for phase, weights in (("train_base", "a" * 64), ("test_new", "b" * 64)):
        add_run(tmp_path, 80.0, phase=phase, routing=routing, weights_sha256=weights)
    runs, problems = without_other_models(collect(tmp_path).frame, "base2new")
    assert len(problems) == 1 and runs.set_index("phase")["domain_in_top_k"].isna().to_dict() == {
        "test_new": True,
        "train_base": False,
    }
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


def test_seeds_follow_the_pooled_deviation_of_what_learns(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 81.0, 3: 82.0}, {1: 60.0, 2: 60.0, 3: 60.0}, dataset="dtd")
    add_base_new(tmp_path, {1: 80.0, 2: 82.0, 3: 84.0}, {1: 60.0, 2: 60.0, 3: 60.0}, dataset="dtd", method="MoCoOp")
    add_base_new(tmp_path, {1: 70.0, 2: 70.0, 3: 70.0}, {1: 60.0}, dataset="dtd", method="ZeroshotCLIP", shots=0)
    table = seeds_table(collect(tmp_path).frame, "base2new")
    assert table.columns == ["Dataset", "Base", "New", "H"]
    deviation = ((1.0 + 4.0) / 2) ** 0.5
    assert table.rows[0][:3] == ["dtd", f"{seeds_needed(deviation)} ({deviation:.2f})", "2 (0.00)"]


@pytest.mark.parametrize("seeds", [{1: 80.0}, {}])
def test_one_seed_says_nothing(tmp_path, seeds):
    add_base_new(tmp_path, seeds or {1: 1.0}, seeds)
    assert seeds_table(collect(tmp_path).frame, "base2new") is None
