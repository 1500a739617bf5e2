import numpy as np
import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.results.figures.routing import routing_by_class_figure, routing_by_dataset_figure, routing_figure
from mocoop.results.routing import over_seeds
from mocoop.results.runs import collect
from tests.results.runs import add_run


def routing(groups, chosen, by_style=None):
    by_style = by_style or {}
    return {"groups": groups, "top_k": 1, "domain_in_top_k": None, "chosen": chosen, "chosen_by_domain": by_style}


def add_routing(root, record, **where):
    for phase in ("train_base", "test_new"):
        add_run(root, 50.0, phase=phase, method="MoCoOp", routing=record, **where)


def rows(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def columns(axis):
    return [label.get_text() for label in axis.get_xticklabels()]


def test_shares_by_style_are_averaged_over_seeds_and_their_spread_is_stated(tmp_path):
    for seed, share in ((1, 90.0), (2, 70.0)):
        by_style = {"photo": [share, 100 - share], "dark": [0.0, 100.0]}
        add_routing(tmp_path, routing(["photo", "dark"], [50.0, 50.0], by_style), seed=seed)
    figure = routing_figure(collect(tmp_path).frame)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["base classes", "new classes"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["80", "20", "0", "100"]
    assert rows(figure.axes[0]) == ["photo", "dark"]
    assert "at most 14.1 points" in figure.get_supxlabel()


def test_no_routing_to_draw_is_an_error(tmp_path):
    add_run(tmp_path, 50.0)
    with pytest.raises(DataError, match="got no run with routing by style"):
        routing_figure(collect(tmp_path).frame)
    with pytest.raises(DataError, match="got no run that routes"):
        routing_by_dataset_figure(collect(tmp_path).frame)


def test_an_expert_that_a_dataset_lacks_is_an_absent_cell(tmp_path):
    add_routing(tmp_path, routing(["photo", "dark"], [60.0, 40.0]), dataset="a")
    add_routing(tmp_path, routing(["photo", "texture"], [30.0, 70.0]), dataset="b")
    axis = routing_by_dataset_figure(collect(tmp_path).frame).axes[0]
    assert rows(axis) == ["a", "b"] and columns(axis) == ["photo", "dark", "texture"]
    shares = axis.images[0].get_array().filled(np.nan)
    assert np.array_equal(shares, [[60, 40, np.nan], [30, np.nan, 70]], equal_nan=True)
    assert len(axis.patches) == 2 and all(patch.get_hatch() for patch in axis.patches)


def test_one_seed_states_no_spread(tmp_path):
    add_routing(tmp_path, routing(["photo"], [100.0]))
    assert routing_by_dataset_figure(collect(tmp_path).frame).get_supxlabel() == ""


def class_table(classes, experts=3):
    shares = np.random.default_rng(0).dirichlet(np.full(experts, 0.5), size=classes) * 100
    return pd.DataFrame(shares, [f"class {n}" for n in range(classes)], [f"expert {n}" for n in range(experts)])


def test_classes_with_the_same_favourite_stand_together():
    table = class_table(20)
    axis = routing_by_class_figure(over_seeds([table])).axes[0]
    favourites = [int(table.loc[name].argmax()) for name in rows(axis)]
    assert len(favourites) == 20 and favourites == sorted(favourites)


def test_a_hundred_classes_stand_in_two_panels():
    axes = routing_by_class_figure(over_seeds([class_table(100)])).axes[:2]
    assert len(rows(axes[0])) == len(rows(axes[1])) == 50
    assert set(rows(axes[0])) | set(rows(axes[1])) == set(class_table(100).index)


def test_of_more_classes_the_most_and_the_least_concentrated_are_shown_and_said():
    table = class_table(300)
    most, least = routing_by_class_figure(over_seeds([table])).axes[:2]
    assert most.get_title() == "most concentrated choice\n50 of 300 classes"
    assert least.get_title() == "least concentrated choice\n50 of 300 classes"
    assert table.loc[rows(most)].max(axis=1).min() > table.loc[rows(least)].max(axis=1).max()
