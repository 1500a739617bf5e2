import math

import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.results.figures.routing import gate_entropy_figure


def entropies(*values):
    return np.array(values)


def test_ln_k_is_marked_and_every_seed_has_its_mean():
    by_seed = {1: entropies(0.1, 0.3), 2: entropies(0.5)}
    axis = gate_entropy_figure({"a": {"base classes": by_seed}}, top_k=2).axes[0]
    means, top = axis.lines
    assert means.get_ydata().tolist() == pytest.approx([0.2, 0.5])
    assert set(top.get_ydata()) == {math.log(2)}
    assert "ln 2 = 0.693" in axis.texts[0].get_text()


def test_widths_are_the_images_per_bin():
    axis = gate_entropy_figure({"a": {"base classes": {1: entropies(0.0, 0.0, 0.69)}}}, top_k=2).axes[0]
    widths = np.array([bar.get_width() for bar in axis.patches])
    assert widths[0] == pytest.approx(2 * widths[-1]) and np.count_nonzero(widths) == 2


def test_base_and_new_stand_side_by_side_over_their_dataset():
    kinds = {"base classes": {1: entropies(0.2)}, "new classes": {1: entropies(0.4)}}
    figure = gate_entropy_figure({"a": kinds, "b": kinds}, top_k=2)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["base classes", "new classes", "mean of each seed"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]


def test_there_is_nothing_to_weigh_with_one_expert():
    with pytest.raises(DataError, match="got top-k 1"):
        gate_entropy_figure({"a": {"base classes": {1: entropies(0.0)}}}, top_k=1)
    with pytest.raises(DataError, match="got no image with gate weights"):
        gate_entropy_figure({}, top_k=2)
