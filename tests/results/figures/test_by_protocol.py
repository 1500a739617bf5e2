"""Base against new, few-shot curves, transfer."""

import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.registry import listed
from mocoop.results.figures.by_protocol import (
    base_new_figure,
    base_new_scatter,
    few_shot_figure,
    shot_position,
    transfer_figure,
)
from mocoop.results.figures.style import COLOURS, save_figure
from mocoop.results.runs import collect
from mocoop.results.stats import base_to_new
from tests.results.runs import add_base_new, add_run


@pytest.fixture
def summary(tmp_path):
    for dataset in ("a", "b"):
        for method, cfg in (("ZeroshotCLIP", "tiny"), ("MoCoOp", "tiny"), ("MoCoOp", "tiny_dense")):
            add_base_new(tmp_path, {1: 80.0, 2: 82.0}, {1: 70.0, 2: 66.0}, dataset=dataset, method=method, cfg=cfg)
    return base_to_new(collect(tmp_path).frame)


def legend_names(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_base_new_figure_has_a_panel_per_dataset_and_the_average(summary):
    figure = base_new_figure(summary, labels={"tiny_dense": "dense"})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "average"]
    assert legend_names(figure.legends[0]) == ["ZeroshotCLIP", "MoCoOp tiny", "dense"]
    containers, row = figure.axes[0].containers, summary.iloc[0]
    assert containers[0].lines[0].get_ydata().tolist() == [row.base, row.new, row.h]
    low, high = containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((row.base - row.base_std, row.base + row.base_std))
    colours = [container.lines[0].get_color() for container in containers]
    assert len(set(colours)) == 3
    alone = base_new_figure(summary.xs("MoCoOp", level="method", drop_level=False)).axes[0].containers
    assert alone[0].lines[0].get_color() == colours[1] == COLOURS[list(listed()).index("MoCoOp") % len(COLOURS)]


def test_scatter_places_new_against_base_over_lines_of_equal_h(summary):
    figure = base_new_scatter(summary)
    axis = figure.axes[0]
    points = {tuple(np.ravel(c.lines[0].get_xydata())) for c in axis.containers}
    assert points == {(81.0, 68.0)}
    assert legend_names(figure.legends[0])[-3:] == ["a", "b", "average"]
    curves = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert curves
    for line in curves:
        base, new = line.get_data()
        h = 2 * base * new / (base + new)
        assert np.ptp(h) < 1e-9 and round(h[0]) % 5 == 0


def test_gaps_leave_points_out_and_break_nothing(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 82.0}, {1: 70.0})
    summary = base_to_new(collect(tmp_path).frame)
    save_figure(base_new_figure(summary), tmp_path / "a.png")
    save_figure(base_new_scatter(summary), tmp_path / "b.png")


def test_many_datasets_stand_in_rows_with_scales_and_markers_of_their_own(tmp_path):
    for number in range(11):
        level = 20.0 + 7 * number
        add_base_new(tmp_path, {1: level}, {1: level}, dataset=f"set{number:02}")
    summary = base_to_new(collect(tmp_path).frame)
    axes = base_new_figure(summary).axes
    assert len(axes) == 12 and len({axis.get_ylim() for axis in axes}) > 1
    assert len({axis.get_subplotspec().colspan.start for axis in axes}) == 4
    (axis,) = base_new_scatter(summary).axes
    assert len({container.lines[0].get_marker() for container in axis.containers}) == 12
    assert "single seeds" in axis.get_xlabel()


SHOTS = (1, 2, 4, 8, 16)


def add_few_shot(root, accuracy, **where):
    add_run(root, accuracy, protocol="few_shot", phase="train_all", **where)


@pytest.fixture
def curve_runs(tmp_path):
    for dataset, level in (("a", 50.0), ("b", 70.0)):
        for seed in (1, 2):
            add_few_shot(tmp_path, level, dataset=dataset, method="ZeroshotCLIP", shots=0, seed=seed)
            for shots in SHOTS:
                add_few_shot(tmp_path, level + shots + seed, dataset=dataset, shots=shots, seed=seed)
    return collect(tmp_path).frame


def curves(axis):
    """{name in the legend's order: (positions, means)} of a panel."""
    return [container.lines[0].get_data() for container in axis.containers]


def test_curves_of_the_average_then_of_each_dataset(curve_runs):
    """Means at their shots, with the spread over seeds; zero-shot is a star with a line across."""
    axes = few_shot_figure(curve_runs).axes
    assert [axis.get_title() for axis in axes] == ["average of 2 datasets", "a", "b"]
    assert curves(axes[0])[1][1].tolist() == [62.5, 63.5, 65.5, 69.5, 77.5]
    positions, means = curves(axes[1])[1]
    assert np.allclose(positions, [1, 2, 3, 4, 5]) and means.tolist() == [52.5, 53.5, 55.5, 59.5, 67.5]
    low, high = axes[1].containers[1].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * np.std([52, 53], ddof=1))
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["0", "1", "2", "4", "8", "16"]
    star = axes[1].containers[0].lines[0]
    assert star.get_marker() == "*" and star.get_data()[0].tolist() == [0] and star.get_data()[1].tolist() == [50.0]
    (line,) = [line for line in axes[1].lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {50.0}


def test_a_mean_that_lacks_a_seed_is_not_drawn(curve_runs):
    kept = curve_runs[~((curve_runs["dataset"] == "a") & (curve_runs["shots"] == 4) & (curve_runs["seed"] == 2))]
    average, of_a, of_b = (curves(axis)[1][1] for axis in few_shot_figure(kept).axes)
    assert len(average) == len(of_a) == 4 and len(of_b) == 5


def test_one_dataset_has_no_average_and_one_seed_no_spread(curve_runs):
    figure = few_shot_figure(curve_runs[(curve_runs["dataset"] == "a") & (curve_runs["seed"] == 1)])
    assert [axis.get_title() for axis in figure.axes] == ["a"]
    assert "single seeds" in figure.get_supylabel()
    with pytest.raises(DataError, match="got no result of protocol few_shot that has all seeds"):
        few_shot_figure(curve_runs, seeds=[1, 2, 3])
    assert shot_position(np.array([0, 1, 2, 16])).tolist() == [0, 1, 2, 5]  # a doubling scale


@pytest.fixture
def transfer_runs(tmp_path):
    for method, shots, level in (("ZeroshotCLIP", 0, 40.0), ("MoCoOp", 16, 50.0)):
        for seed in (1, 2):
            where = {"method": method, "shots": shots, "seed": seed}
            add_run(tmp_path, level + 20 + seed, protocol="xd", phase="train", dataset="imagenet", **where)
            for target in ("a", "b"):
                add_run(tmp_path, level + seed, protocol="dg", phase="test", dataset=target, **where)
    return collect(tmp_path).frame


def bars(axis):
    """Heights of the bars, a list per method."""
    return [[bar.get_height() for bar in box.patches] for box in axis.containers if hasattr(box, "patches")]


def test_bars_of_the_source_then_of_targets_then_of_their_average(transfer_runs):
    """From zero, with the spread over seeds; methods differ without colour."""
    figure = transfer_figure(transfer_runs)
    axis = figure.axes[0]
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["imagenet\n(source)", "a", "b", "average\nof targets"]
    assert bars(axis) == [[61.5, 41.5, 41.5, 41.5], [71.5, 51.5, 51.5, 51.5]]
    assert axis.get_ylim()[0] == 0
    errors = [box for box in axis.containers if not hasattr(box, "patches")]
    low, high = errors[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((61.5 - 0.5**0.5, 61.5 + 0.5**0.5))
    assert len({patch.get_hatch() for patch in figure.legends[0].get_patches()}) == 2
    axis = transfer_figure(transfer_runs[transfer_runs["phase"] == "test"]).axes[0]  # without a source
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "average\nof targets"]


def test_many_bars_stand_in_several_rows(tmp_path):
    for number in range(10):
        for method in ("A", "B", "C", "D", "E", "F"):
            add_run(tmp_path, 50.0, protocol="xd", phase="test", dataset=f"set{number}", method=method)
    figure = transfer_figure(collect(tmp_path).frame)
    assert len(figure.axes) == 2
    assert sum(len(axis.get_xticklabels()) for axis in figure.axes) == 11


def test_a_missing_cell_leaves_its_bar_out(transfer_runs):
    runs = transfer_runs
    lacking = (runs["dataset"] == "a") & (runs["method"] == "MoCoOp") & (runs["seed"] == 1)
    heights = bars(transfer_figure(runs[~lacking]).axes[0])[1]
    assert [height == height for height in heights] == [True, False, True, False]  # NaN is not itself
    with pytest.raises(DataError, match="got no test on another dataset"):
        transfer_figure(transfer_runs.iloc[:0])
