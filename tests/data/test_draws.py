import random

import pytest

from mocoop.data.draws import draw, draw_subset, make_rng
from tests.data.toy import make_splits

SPLITS = make_splits("/i")


def naive_draw(items, shots):
    """Dassl's draw, from Python's global generator."""
    drawn, labels = [], []
    for item in items:
        if item.label not in labels:
            labels.append(item.label)
    for label in labels:
        members = [item for item in items if item.label == label]
        drawn += random.sample(members, shots) if len(members) >= shots else members
    return drawn


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_equals_the_draw_of_a_freshly_seeded_process(seed, shots):
    train, val = draw_subset(SPLITS.train, SPLITS.val, shots, seed)
    random.seed(seed)
    assert train == naive_draw(SPLITS.train, shots)
    assert val == naive_draw(SPLITS.val, min(shots, 4))


def test_numbers_drawn_before_change_nothing_and_none_are_taken_and_seeds_differ():
    random.seed(5)
    expected_next = random.random()
    random.seed(5)
    first = draw_subset(SPLITS.train, SPLITS.val, 2, seed=1)
    assert random.random() == expected_next
    assert draw_subset(SPLITS.train, SPLITS.val, 2, seed=1) == first != draw_subset(SPLITS.train, SPLITS.val, 2, 2)


def test_labels_come_in_order_of_appearance_and_classes_give_what_they_have():
    labels = [item.label for item in draw(SPLITS.train[::-1], 1, make_rng(1))]
    assert labels == [4, 3, 2, 1, 0]
    assert draw(SPLITS.test, 16, make_rng(1)) == SPLITS.test
    train, val = draw_subset(SPLITS.train, None, 4, 1)
    assert len(train) == 4 * 5 and val is None
