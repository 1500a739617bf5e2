import numpy as np
import pandas as pd
import pytest

from mocoop.results.figures.routing import expert_similarity_figure, hundredths
from mocoop.results.routing import over_seeds


def similarity(value, experts=2):
    names = [f"expert {number}" for number in range(experts)]
    cosines = np.full((experts, experts), value)
    np.fill_diagonal(cosines, 1.0)
    return pd.DataFrame(cosines, names, names)


def test_cells_are_means_over_seeds_and_the_spread_is_stated():
    figure = expert_similarity_figure({"a": over_seeds([similarity(0.6), similarity(0.8)])})
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", ".70", ".70", "1"]
    assert "at most 0.141" in figure.get_supxlabel()


def test_a_panel_per_dataset_on_one_scale():
    figure = expert_similarity_figure({name: over_seeds([similarity(0.75)]) for name in "abc"})
    assert [axis.get_title() for axis in figure.axes[:3]] == ["a", "b", "c"]
    assert {axis.images[0].get_clim() for axis in figure.axes[:3]} == {(0.7, 1.0)}


def test_many_experts_have_a_heatmap_each_row():
    figure = expert_similarity_figure({name: over_seeds([similarity(0.5, 20)]) for name in "ab"})
    assert [axis.get_subplotspec().rowspan.start for axis in figure.axes[:2]] == [0, 1]


@pytest.mark.parametrize("value, text", [(0.874, ".87"), (1.0, "1"), (0.996, "1"), (-0.234, "-.23"), (-0.001, ".00")])
def test_hundredths(value, text):
    assert hundredths(value) == text
