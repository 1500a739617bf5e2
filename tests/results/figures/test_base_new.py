import numpy as np
import pytest

from mocoop.registry import listed
from mocoop.results.aggregate import base_to_new
from mocoop.results.collect import collect
from mocoop.results.figures.by_protocol import base_new_figure, base_new_scatter
from mocoop.results.figures.style import COLOURS, save_figure
from tests.results.runs import add_base_new


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
