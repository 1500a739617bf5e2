import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.results.figures.by_protocol import few_shot_figure, shot_position
from mocoop.results.runs import collect
from tests.results.runs import add_run

SHOTS = (1, 2, 4, 8, 16)


def add_few_shot(root, accuracy, **where):
    add_run(root, accuracy, protocol="few_shot", phase="train_all", **where)


@pytest.fixture
def runs(tmp_path):
    for dataset, level in (("a", 50.0), ("b", 70.0)):
        for seed in (1, 2):
            add_few_shot(tmp_path, level, dataset=dataset, method="ZeroshotCLIP", shots=0, seed=seed)
            for shots in SHOTS:
                add_few_shot(tmp_path, level + shots + seed, dataset=dataset, shots=shots, seed=seed)
    return collect(tmp_path).frame


def curves(axis):
    """{name in the legend's order: (positions, means)} of a panel."""
    return [container.lines[0].get_data() for container in axis.containers]


def test_the_average_comes_first_then_a_panel_per_dataset(runs):
    titles = [axis.get_title() for axis in few_shot_figure(runs).axes]
    assert titles == ["average of 2 datasets", "a", "b"]


def test_means_stand_at_their_shots_with_the_spread_over_seeds(runs):
    axis = few_shot_figure(runs).axes[1]
    positions, means = curves(axis)[1]
    assert np.allclose(positions, [1, 2, 3, 4, 5]) and means.tolist() == [52.5, 53.5, 55.5, 59.5, 67.5]
    low, high = axis.containers[1].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * np.std([52, 53], ddof=1))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2", "4", "8", "16"]


def test_zero_shot_is_a_star_with_a_line_across(runs):
    axis = few_shot_figure(runs).axes[1]
    star = axis.containers[0].lines[0]
    assert star.get_marker() == "*" and star.get_data()[0].tolist() == [0] and star.get_data()[1].tolist() == [50.0]
    lines = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert len(lines) == 1 and set(lines[0].get_ydata()) == {50.0}


def test_the_average_is_that_of_the_datasets(runs):
    means = curves(few_shot_figure(runs).axes[0])[1][1]
    assert means.tolist() == [62.5, 63.5, 65.5, 69.5, 77.5]


def test_a_mean_that_lacks_a_seed_is_not_drawn(runs):
    kept = runs[~((runs["dataset"] == "a") & (runs["shots"] == 4) & (runs["seed"] == 2))]
    average, of_a, of_b = (curves(axis)[1][1] for axis in few_shot_figure(kept).axes)
    assert len(average) == len(of_a) == 4 and len(of_b) == 5


def test_one_dataset_has_no_average_and_one_seed_no_spread(runs):
    figure = few_shot_figure(runs[(runs["dataset"] == "a") & (runs["seed"] == 1)])
    assert [axis.get_title() for axis in figure.axes] == ["a"]
    assert "single seeds" in figure.get_supylabel()


def test_nothing_complete_is_an_error(runs):
    with pytest.raises(DataError, match="got no result of protocol few_shot that has all seeds"):
        few_shot_figure(runs, seeds=[1, 2, 3])


def test_shots_stand_on_a_doubling_scale():
    assert shot_position(np.array([0, 1, 2, 16])).tolist() == [0, 1, 2, 5]
