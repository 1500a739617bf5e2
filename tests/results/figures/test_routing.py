"""Heat maps of routing and of similarity, gate entropy, contact sheets."""

import math
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mocoop.errors import DataError
from mocoop.results.figures.routing import (
    RIGHT,
    WRONG,
    Tile,
    contact_sheet,
    contact_tiles,
    expert_similarity_figure,
    gate_entropy_figure,
    hundredths,
    read_small,
    routing_by_class_figure,
    routing_by_dataset_figure,
    routing_figure,
)
from mocoop.results.routing import over_seeds
from mocoop.results.runs import collect
from tests.results.routed import EXPERTS, routed_predictions
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


def test_nothing_to_draw_is_an_error(tmp_path):
    add_run(tmp_path, 50.0)
    runs = collect(tmp_path).frame
    for draw, message in (
        (lambda: routing_figure(runs), "got no run with routing by style"),
        (lambda: routing_by_dataset_figure(runs), "got no run that routes"),
        (lambda: gate_entropy_figure({"a": {"base classes": {1: entropies(0.0)}}}, top_k=1), "got top-k 1"),
        (lambda: gate_entropy_figure({}, top_k=2), "got no image with gate weights"),
    ):
        with pytest.raises(DataError, match=message):
            draw()


def test_an_expert_that_a_dataset_lacks_is_an_absent_cell(tmp_path):
    add_routing(tmp_path, routing(["photo", "dark"], [60.0, 40.0]), dataset="a")
    add_routing(tmp_path, routing(["photo", "texture"], [30.0, 70.0]), dataset="b")
    figure = routing_by_dataset_figure(collect(tmp_path).frame)
    axis = figure.axes[0]
    assert rows(axis) == ["a", "b"] and columns(axis) == ["photo", "dark", "texture"]
    shares = axis.images[0].get_array().filled(np.nan)
    assert np.array_equal(shares, [[60, 40, np.nan], [30, np.nan, 70]], equal_nan=True)
    assert len(axis.patches) == 2 and all(patch.get_hatch() for patch in axis.patches)
    assert figure.get_supxlabel() == ""  # one seed states no spread


def class_table(classes, experts=3):
    shares = np.random.default_rng(0).dirichlet(np.full(experts, 0.5), size=classes) * 100
    return pd.DataFrame(shares, [f"class {n}" for n in range(classes)], [f"expert {n}" for n in range(experts)])


def test_classes_with_the_same_favourite_stand_together():
    table = class_table(20)
    axis = routing_by_class_figure(over_seeds([table])).axes[0]
    favourites = [int(table.loc[name].argmax()) for name in rows(axis)]
    assert len(favourites) == 20 and favourites == sorted(favourites)


def test_a_hundred_classes_stand_in_two_panels_and_of_more_the_most_and_the_least_concentrated():
    axes = routing_by_class_figure(over_seeds([class_table(100)])).axes[:2]
    assert len(rows(axes[0])) == len(rows(axes[1])) == 50
    assert set(rows(axes[0])) | set(rows(axes[1])) == set(class_table(100).index)
    table = class_table(300)
    most, least = routing_by_class_figure(over_seeds([table])).axes[:2]
    assert most.get_title() == "most concentrated choice\n50 of 300 classes"
    assert least.get_title() == "least concentrated choice\n50 of 300 classes"
    assert table.loc[rows(most)].max(axis=1).min() > table.loc[rows(least)].max(axis=1).max()


def similarity(value, experts=2):
    names = [f"expert {number}" for number in range(experts)]
    cosines = np.full((experts, experts), value)
    np.fill_diagonal(cosines, 1.0)
    return pd.DataFrame(cosines, names, names)


def test_similarities_are_means_over_seeds_in_a_panel_per_dataset_on_one_scale():
    figure = expert_similarity_figure({name: over_seeds([similarity(0.6), similarity(0.9)]) for name in "abc"})
    axes = figure.axes[:3]
    assert [axis.get_title() for axis in axes] == ["a", "b", "c"]
    assert [text.get_text() for text in axes[0].texts] == ["1", ".75", ".75", "1"]
    assert {axis.images[0].get_clim() for axis in axes} == {(0.7, 1.0)}
    assert "at most 0.212" in figure.get_supxlabel()


def test_many_experts_have_a_heatmap_each_row():
    figure = expert_similarity_figure({name: over_seeds([similarity(0.5, 20)]) for name in "ab"})
    assert [axis.get_subplotspec().rowspan.start for axis in figure.axes[:2]] == [0, 1]


@pytest.mark.parametrize("value, text", [(0.874, ".87"), (1.0, "1"), (0.996, "1"), (-0.234, "-.23"), (-0.001, ".00")])
def test_hundredths(value, text):
    assert hundredths(value) == text


def entropies(*values):
    return np.array(values)


def test_ln_k_is_marked_and_every_seed_has_its_mean():
    by_seed = {1: entropies(0.1, 0.3), 2: entropies(0.5)}
    axis = gate_entropy_figure({"a": {"base classes": by_seed}}, top_k=2).axes[0]
    means, top = axis.lines
    assert means.get_ydata().tolist() == pytest.approx([0.2, 0.5])
    assert set(top.get_ydata()) == {math.log(2)}
    assert "ln 2 = 0.693" in axis.texts[0].get_text()


def test_base_and_new_stand_side_by_side_over_their_dataset_as_wide_as_their_images():
    kinds = {"base classes": {1: entropies(0.0, 0.0, 0.69)}, "new classes": {1: entropies(0.4)}}
    figure = gate_entropy_figure({"a": kinds, "b": kinds}, top_k=2)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["base classes", "new classes", "mean of each seed"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]
    axis = gate_entropy_figure({"a": {"base classes": kinds["base classes"]}}, top_k=2).axes[0]
    widths = np.array([bar.get_width() for bar in axis.patches])
    assert widths[0] == pytest.approx(2 * widths[-1]) and np.count_nonzero(widths) == 2


@pytest.fixture
def tiles(tmp_path):
    (tmp_path / "set").mkdir()
    for number in (0, 1):
        Image.new("RGB", (300, 200), "red").save(tmp_path / f"set/image{number:02}.png")
    (tmp_path / "set/image02.png").write_text("no image")
    predictions = routed_predictions()
    predictions["experts"] = predictions["experts"].str.split("|")
    predictions["gates"] = [[float(gate) for gate in gates.split("|")] for gates in predictions["gates"]]
    return contact_tiles(predictions.assign(classname="cat"), EXPERTS, tmp_path, count=2)


def test_each_expert_has_the_images_it_weighs_most_in(tiles):
    assert [(tile.path[-6:-4], tile.gate) for tile in tiles["photo"]] == [("03", 1.0), ("00", 0.9)]
    assert [tile.correct for tile in tiles["dark"]] == [False, True]
    assert tiles["photo"][0].picture is None and tiles["dark"][1].picture is None  # missing, and damaged
    assert tiles["photo"][1].picture.shape == (85, 128, 3)


def test_the_sheet_says_what_is_missing_and_what_was_wrong(tiles):
    figure = contact_sheet(tiles)
    shown = [axis for axis in figure.axes if axis.axison]
    assert len(shown) == 6
    texts = [text.get_text() for axis in shown for text in axis.texts]
    assert texts.count("image not\nfound") == 4
    assert shown[0].get_title() == "cat\n✓ 1.00"
    wrong = [axis for axis in shown if "✗" in axis.get_title()]
    assert len(wrong) == 1 and wrong[0].spines["left"].get_edgecolor() != shown[0].spines["left"].get_edgecolor()
    assert RIGHT != WRONG


def test_an_expert_that_was_never_chosen_is_named_and_many_stand_two_in_a_row():
    figure = contact_sheet({"photo": [Tile("a", "cat", 1.0, True, np.zeros((4, 4, 3)))], "never": []})
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert "never" in texts and "chosen for\nno image" in texts
    figure = contact_sheet({f"expert {number}": [Tile("a", "cat", 1.0, True, None)] * 6 for number in range(12)})
    spec = figure.axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (6, 10)


def test_no_pipe_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert read_small(tmp_path / "pipe.png") is None
