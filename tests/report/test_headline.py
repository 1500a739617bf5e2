"""The opening words: the two best methods, and whether one is better than the other."""

import pytest

from mocoop.report.content import find_runs
from mocoop.report.sections import headline
from tests.results.runs import add_answers


@pytest.fixture
def opening(tmp_path):
    """The headline of MoCoOp and CoOp with these shares of right answers on base and new classes."""

    def opening(a: float, b: float, seeds=(1, 2, 3), **of_b):
        for seed in seeds:
            for phase in ("train_base", "test_new"):
                add_answers(tmp_path, "MoCoOp", a + 0.005 * seed, seed, phase=phase)
                add_answers(tmp_path, "CoOp", b, seed, phase=phase, **of_b)
        (part,) = find_runs(tmp_path).protocols
        return headline(part)

    return opening


def test_the_best_is_better_if_pairs_say_so(opening):
    words = opening(0.8, 0.6)
    assert words.startswith(
        "Base to new classes: highest H on shapes_both: MoCoOp 81.00 ± 0.50, then CoOp 60.00 ± 0.00. "
    )
    assert "MoCoOp is better: +21.00 points, 95 % interval +1" in words and words.endswith("paired by image and seed.")


def test_small_differences_are_not_told_apart(opening):
    assert "The two are not told apart: +0.50 points, 95 % interval −" in opening(0.6, 0.605)


def test_one_seed_is_said_to_tell_nothing(opening):
    assert opening(0.8, 0.6, seeds=[1]).endswith("CoOp 60.00. One seed does not tell whether that is chance.")


@pytest.mark.parametrize("b, end", [(0.6, "Their runs are no pairs."), (0.81, "less than their deviations.")])
def test_other_images_are_no_pairs(opening, b, end):
    assert opening(0.8, b, offset=1).endswith(end)
