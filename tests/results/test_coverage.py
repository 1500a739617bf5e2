"""How often intervals hold the truth, and how often a test raises a false alarm, in simulated comparisons."""

import pytest

from benchmarks.comparisons import coverage


@pytest.mark.parametrize(
    "seeds, deviation, sets, measure",
    [(3, 0.5, 1, "base"), (3, 3.0, 1, "base"), (3, 1.0, 1, "H"), (2, 1.0, 5, "base")],
)
def test_intervals_hold_the_truth_and_alarms_are_rare(seeds, deviation, sets, measure):
    """500 draws find 95 % with an error of 1.0 and 5 % too, so these bounds are three errors away."""
    found = coverage(500, seeds, 100, deviation, sets, measure)
    assert 92.0 <= found["interval"] <= 98.0
    assert found["false alarms"] <= 8.0 and found["on average"] <= 8.0
