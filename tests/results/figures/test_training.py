import numpy as np
import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.results.figures.training import smooth, training_figure
from tests.results.routed import make_history


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes}


def test_a_panel_for_each_quantity():
    """A loss without parts is drawn as cross-entropy; unknown parts get panels of their own."""
    figure = training_figure({"MoCoOp": {1: make_history()}, "CoOp": {1: make_history(parts=False)}})
    assert list(panels(figure)) == [
        "cross-entropy",
        "text supervision loss",
        "routing loss",
        "total loss (weighted sum)",
        "accuracy of the batches (%)",
        "learning rate",
    ]
    axes = panels(training_figure({"CoOp": {1: make_history(parts=False)}}))
    assert axes["cross-entropy"].lines[0].get_ydata().tolist() == [1.75, 1.5, 1.25, 1.0]
    assert "total loss (weighted sum)" not in axes
    assert "loss_extra" in panels(training_figure({"New": {1: make_history().assign(loss_extra=1.0)}}))
    with pytest.raises(DataError, match="got no history with a training step"):
        training_figure({"CoOp": {1: make_history(0)}})


def test_seeds_are_thin_and_their_mean_strong_and_ends_where_a_seed_does():
    seeds = {1: make_history(parts=False), 2: make_history(2, parts=False, start=3.0)}
    *thin, strong = panels(training_figure({"CoOp": seeds}))["cross-entropy"].lines
    assert len(thin) == 2 and all(line.get_linewidth() < strong.get_linewidth() for line in thin)
    assert np.array_equal(strong.get_ydata(), [2.25, 2.0, np.nan, np.nan], equal_nan=True)


def test_smoothing_is_stated_and_keeps_straight_lines():
    table = pd.DataFrame({"a": np.arange(100.0)})
    assert np.allclose(smooth(table)["a"][5:-5], np.arange(5.0, 95.0), atol=0.51)
    assert "4% of the steps" in training_figure({"CoOp": {1: make_history()}}).get_supxlabel()


def test_methods_of_very_different_length_share_the_axis():
    histories = {"CoOp": {1: make_history(5)}, "CoCoOp": {1: make_history(50)}}
    figure = training_figure(histories)
    assert "share of the training" in figure.get_supxlabel()
    ends = [line.get_xdata()[-1] for line in panels(figure)["learning rate"].lines]
    assert ends == [100.0, 100.0]


def test_seeds_without_a_step_in_common_have_no_mean(tmp_path):
    later = make_history(2, parts=False).assign(step=[11, 12])
    figure = training_figure({"CoOp": {1: make_history(2, parts=False), 2: later}})
    assert len(panels(figure)["cross-entropy"].lines) == 2
    figure.savefig(tmp_path / "drawn.png")
