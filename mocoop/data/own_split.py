"""A split of a user's own images: stratified by class, with as many as there are for classes of any size."""

import random
from collections.abc import Sequence

from mocoop.data.item import Item, Splits, by_label

TEST_SHARE, VAL_SHARE = 0.3, 0.2


def split_stratified(items: Sequence[Item], rng: random.Random) -> Splits:
    """Of each class 30 % for testing, 20 % for validation, the rest for training.

    A class with three images or more has at least one in each split; the second image of a class of two is for testing,
    an only image for training.
    """
    splits = Splits([], [], [])
    for members in by_label(items):
        rng.shuffle(members)
        n_test = _share(TEST_SHARE, len(members), at_least=2)
        n_val = _share(VAL_SHARE, len(members), at_least=3)
        splits.test.extend(members[:n_test])
        splits.val.extend(members[n_test : n_test + n_val])
        splits.train.extend(members[n_test + n_val :])
    return splits


def split_off_val(items: Sequence[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """(train, val): of each class 20 % for validation, at least one where there are two or more."""
    train, val = [], []
    for members in by_label(items):
        rng.shuffle(members)
        n_val = _share(VAL_SHARE, len(members), at_least=2)
        val.extend(members[:n_val])
        train.extend(members[n_val:])
    return train, val


def _share(share: float, total: int, at_least: int) -> int:
    return max(1, round(share * total)) if total >= at_least else 0
