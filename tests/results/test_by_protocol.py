import math

import pytest

from mocoop.protocol import ALIASES, PROTOCOLS
from mocoop.results.by_protocol import join, protocol_tables, runs_of, summarise, without_other_models
from mocoop.results.collect import collect
from mocoop.results.routing import that_route
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
