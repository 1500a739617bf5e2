import math

import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.results.routing import (
    chosen_shares,
    class_shares,
    concentration,
    over_seeds,
    predictions_of,
    strongest_images,
    that_route,
    with_predictions,
)
from mocoop.results.runs import collect
from tests.results.routed import CHOICES, EXPERTS, add_routed_run
from tests.results.runs import add_run


@pytest.fixture
def runs(tmp_path):
    add_routed_run(tmp_path, seed=1)
    add_routed_run(tmp_path, seed=2, choices=[(0, 0, "photo", ("photo", "dark"), (0.9, 0.1)), *CHOICES[2:]])
    return collect(tmp_path).frame


@pytest.fixture
def predictions(runs):
    return predictions_of(next(runs.itertuples()))


def test_shares_are_counted_per_value_of_a_column(predictions):
    by_style = chosen_shares(predictions, EXPERTS, "domain")
    assert by_style.loc["photo"].tolist() == [100.0, 50.0, 50.0]
    assert by_style.loc["dark"].tolist() == [50.0, 100.0, 50.0]


def test_class_shares_are_means_over_seeds_in_label_order(runs):
    shares = class_shares(runs)
    assert list(shares.mean.index) == ["cat", "dog"]
    assert shares.mean.loc["cat"].tolist() == [100.0, 100.0, 0.0]
    assert shares.mean.loc["dog"].tolist() == [50.0, 50.0, 100.0]
    assert shares.largest == 0.0


def test_the_spread_over_seeds_is_the_samples():
    tables = [pd.DataFrame([[value, 1.0]], ["a"], ["x", "y"]) for value in (1.0, 3.0)]
    spread = over_seeds(tables)
    assert spread.mean.loc["a"].tolist() == [2.0, 1.0]
    assert spread.largest == pytest.approx(math.sqrt(2))
    assert math.isnan(over_seeds(tables[:1]).largest)


def test_strongest_images_are_sorted_by_the_experts_weight(predictions):
    best = strongest_images(predictions, "photo", 2)
    assert best["gate"].tolist() == [1.0, 0.9]
    assert best["path"].tolist() == ["set/image03.png", "set/image00.png"]
    assert len(strongest_images(predictions, "photo", 9)) == 3  # the third image has other experts


def test_concentration_tells_one_expert_from_all():
    shares = pd.DataFrame({"a": [100.0, 50.0], "b": [0.0, 50.0]}, index=["one", "all"])
    assert concentration(shares).tolist() == pytest.approx([1.0, 0.0])


def test_only_runs_that_route_and_left_predictions_count(tmp_path, runs):
    add_run(tmp_path, 60.0, method="CoOp")
    without = add_routed_run(tmp_path, seed=3)
    (without / "predictions.csv").unlink()
    found = collect(tmp_path)
    found.gaps.append(
        found.frame.iloc[0][["protocol", "phase", "dataset", "shots", "method", "cfg"]].to_dict() | {"seed": 9}
    )
    assert len(found.with_gaps()) == 5 and len(that_route(found.with_gaps())) == 3
    assert with_predictions(that_route(found.frame))["seed"].tolist() == [1, 2]


def test_predictions_of_a_method_that_does_not_route_are_refused(tmp_path, runs):
    run = next(runs.itertuples())
    path = tmp_path / "base2new/train_base/shapes_both/shots_16/MoCoOp/tiny/seed1/predictions.csv"
    pd.read_csv(path).drop(columns=["experts", "gates"]).to_csv(path, index=False)
    with pytest.raises(DataError, match="no column experts, expected the predictions of a method that routes"):
        predictions_of(run)


def test_a_label_that_the_record_does_not_know_is_refused(tmp_path):
    add_routed_run(tmp_path, choices=[(7, 0, "photo", ("photo", "dark"), (0.9, 0.1))])
    with pytest.raises(DataError, match="predictions.csv has 1 images of labels up to 7"):
        predictions_of(next(collect(tmp_path).frame.itertuples()))
