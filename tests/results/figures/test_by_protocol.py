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


def test_points_and_error_bars_are_the_summarys(summary):
    panel = base_new_figure(summary).axes[0]
    container = panel.containers[0]
    row = summary.iloc[0]
    assert container.lines[0].get_ydata().tolist() == [row.base, row.new, row.h]
    low, high = container.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((row.base - row.base_std, row.base + row.base_std))


def test_every_entry_has_its_own_colour_and_a_method_keeps_its_own(summary):
    all_colours = [c.lines[0].get_color() for c in base_new_figure(summary).axes[0].containers]
    assert len(set(all_colours)) == 3
    alone = base_new_figure(summary.xs("MoCoOp", level="method", drop_level=False)).axes[0].containers
    assert alone[0].lines[0].get_color() == all_colours[1]
    assert all_colours[1] == COLOURS[list(listed()).index("MoCoOp") % len(COLOURS)]


def test_scatter_places_new_against_base(summary):
    figure = base_new_scatter(summary)
    axis = figure.axes[0]
    points = {tuple(np.ravel(c.lines[0].get_xydata())) for c in axis.containers}
    assert points == {(81.0, 68.0)}
    assert legend_names(figure.legends[0])[-3:] == ["a", "b", "average"]


def test_lines_of_equal_h_are_of_equal_h(summary):
    axis = base_new_scatter(summary).axes[0]
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


def test_many_datasets_stand_in_rows_with_scales_of_their_own(tmp_path):
    for number in range(11):
        level = 20.0 + 7 * number
        add_base_new(tmp_path, {1: level, 2: level + 1}, {1: level, 2: level - 1}, dataset=f"set{number:02}")
    figure = base_new_figure(base_to_new(collect(tmp_path).frame))
    assert len(figure.axes) == 12
    assert len({axis.get_ylim() for axis in figure.axes}) > 1
    columns = {axis.get_subplotspec().colspan.start for axis in figure.axes}
    assert len(columns) == 4


def test_every_dataset_has_a_marker_of_its_own(tmp_path):
    for number in range(11):
        add_base_new(tmp_path, {1: 50.0 + number}, {1: 60.0}, dataset=f"set{number:02}")
    axis = base_new_scatter(base_to_new(collect(tmp_path).frame)).axes[0]
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


def test_the_average_comes_first_then_a_panel_per_dataset(curve_runs):
    titles = [axis.get_title() for axis in few_shot_figure(curve_runs).axes]
    assert titles == ["average of 2 datasets", "a", "b"]


def test_means_stand_at_their_shots_with_the_spread_over_seeds(curve_runs):
    axis = few_shot_figure(curve_runs).axes[1]
    positions, means = curves(axis)[1]
    assert np.allclose(positions, [1, 2, 3, 4, 5]) and means.tolist() == [52.5, 53.5, 55.5, 59.5, 67.5]
    low, high = axis.containers[1].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * np.std([52, 53], ddof=1))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2", "4", "8", "16"]


def test_zero_shot_is_a_star_with_a_line_across(curve_runs):
    axis = few_shot_figure(curve_runs).axes[1]
    star = axis.containers[0].lines[0]
    assert star.get_marker() == "*" and star.get_data()[0].tolist() == [0] and star.get_data()[1].tolist() == [50.0]
    lines = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert len(lines) == 1 and set(lines[0].get_ydata()) == {50.0}


def test_the_average_is_that_of_the_datasets(curve_runs):
    means = curves(few_shot_figure(curve_runs).axes[0])[1][1]
    assert means.tolist() == [62.5, 63.5, 65.5, 69.5, 77.5]


def test_a_mean_that_lacks_a_seed_is_not_drawn(curve_runs):
    kept = curve_runs[~((curve_runs["dataset"] == "a") & (curve_runs["shots"] == 4) & (curve_runs["seed"] == 2))]
    average, of_a, of_b = (curves(axis)[1][1] for axis in few_shot_figure(kept).axes)
    assert len(average) == len(of_a) == 4 and len(of_b) == 5


def test_one_dataset_has_no_average_and_one_seed_no_spread(curve_runs):
    figure = few_shot_figure(curve_runs[(curve_runs["dataset"] == "a") & (curve_runs["seed"] == 1)])
    assert [axis.get_title() for axis in figure.axes] == ["a"]
    assert "single seeds" in figure.get_supylabel()


def test_nothing_complete_is_an_error(curve_runs):
    with pytest.raises(DataError, match="got no result of protocol few_shot that has all seeds"):
        few_shot_figure(curve_runs, seeds=[1, 2, 3])


def test_shots_stand_on_a_doubling_scale():
    assert shot_position(np.array([0, 1, 2, 16])).tolist() == [0, 1, 2, 5]


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


def test_source_then_targets_then_their_average(transfer_runs):
    axis = transfer_figure(transfer_runs).axes[0]
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["imagenet\n(source)", "a", "b", "average\nof targets"]
    assert bars(axis) == [[61.5, 41.5, 41.5, 41.5], [71.5, 51.5, 51.5, 51.5]]


def test_bars_start_at_zero_and_carry_the_spread(transfer_runs):
    axis = transfer_figure(transfer_runs).axes[0]
    assert axis.get_ylim()[0] == 0
    errors = [box for box in axis.containers if not hasattr(box, "patches")]
    low, high = errors[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((61.5 - 0.5**0.5, 61.5 + 0.5**0.5))


def test_bars_differ_without_colour(transfer_runs):
    figure = transfer_figure(transfer_runs)
    assert len({patch.get_hatch() for patch in figure.legends[0].get_patches()}) == 2


def test_without_a_source_only_targets_stand_there(transfer_runs):
    axis = transfer_figure(transfer_runs[transfer_runs["phase"] == "test"]).axes[0]
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


def test_no_target_is_an_error(transfer_runs):
    with pytest.raises(DataError, match="got no test on another dataset"):
        transfer_figure(transfer_runs.iloc[:0])
