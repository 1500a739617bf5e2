import pytest

from mocoop.errors import DataError
from mocoop.results.figures.by_protocol import transfer_figure
from mocoop.results.runs import collect
from tests.results.runs import add_run


@pytest.fixture
def runs(tmp_path):
    for method, shots, level in (("ZeroshotCLIP", 0, 40.0), ("MoCoOp", 16, 50.0)):
        for seed in (1, 2):
            where = {"method": method, "shots": shots, "seed": seed}
            add_run(tmp_path, level + 20 + seed, protocol="xd", phase="train", dataset="imagenet", **where)
            for target in ("a", "b"):
                add_run(tmp_path, level + seed, protocol="dg", phase="test", dataset=target, **where)
    return collect(tmp_path).frame


def split(runs):
    return runs[runs["phase"] == "test"], runs[runs["phase"] == "train"]


def bars(axis):
    """Heights of the bars, a list per method."""
    return [[bar.get_height() for bar in box.patches] for box in axis.containers if hasattr(box, "patches")]


def test_source_then_targets_then_their_average(runs):
    axis = transfer_figure(*split(runs)).axes[0]
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["imagenet\n(source)", "a", "b", "average\nof targets"]
    assert bars(axis) == [[61.5, 41.5, 41.5, 41.5], [71.5, 51.5, 51.5, 51.5]]


def test_bars_start_at_zero_and_carry_the_spread(runs):
    axis = transfer_figure(*split(runs)).axes[0]
    assert axis.get_ylim()[0] == 0
    errors = [box for box in axis.containers if not hasattr(box, "patches")]
    low, high = errors[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((61.5 - 0.5**0.5, 61.5 + 0.5**0.5))


def test_bars_differ_without_colour(runs):
    figure = transfer_figure(*split(runs))
    assert len({patch.get_hatch() for patch in figure.legends[0].get_patches()}) == 2


def test_without_a_source_only_targets_stand_there(runs):
    axis = transfer_figure(split(runs)[0]).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "average\nof targets"]


def test_many_bars_stand_in_several_rows(tmp_path):
    for number in range(10):
        for method in ("A", "B", "C", "D", "E", "F"):
            add_run(tmp_path, 50.0, protocol="xd", phase="test", dataset=f"set{number}", method=method)
    figure = transfer_figure(collect(tmp_path).frame)
    assert len(figure.axes) == 2
    assert sum(len(axis.get_xticklabels()) for axis in figure.axes) == 11


def test_a_missing_cell_leaves_its_bar_out(runs):
    targets, source = split(runs)
    kept = targets[~((targets["dataset"] == "a") & (targets["method"] == "MoCoOp") & (targets["seed"] == 1))]
    heights = bars(transfer_figure(kept, source).axes[0])[1]
    assert [height == height for height in heights] == [True, False, True, False]  # NaN is not itself


def test_no_target_is_an_error(runs):
    with pytest.raises(DataError, match="got no test on another dataset"):
        transfer_figure(runs.iloc[:0])
