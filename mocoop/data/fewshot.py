"""The draw of a few-shot subset: the one CoOp makes for the same seed."""

import random
from collections.abc import Sequence

from mocoop.data.item import Item, by_label

VAL_SHOTS = 4


def make_rng(seed: int) -> random.Random:
    """A generator of its own for `seed`, so that numbers drawn elsewhere change nothing; unseeded when negative."""
    return random.Random(seed) if seed >= 0 else random.Random()


def draw(items: Sequence[Item], shots: int, rng: random.Random) -> list[Item]:
    """`shots` items of each label without replacement (all of a label that has fewer), labels in order of appearance.

    The draw of Dassl's `DatasetBase.generate_fewshot_dataset`.
    """
    drawn = []
    for members in by_label(items):
        drawn.extend(rng.sample(members, shots) if len(members) >= shots else members)
    return drawn


def draw_subset(
    train: Sequence[Item], val: Sequence[Item] | None, shots: int, seed: int
) -> tuple[list[Item], list[Item] | None]:
    """Few-shot training items and at most four validation items a class.

    Training is drawn first, validation from what follows of the same generator, as in CoOp's datasets.

    Returns:
        (train, val), lists of Item; val is None when it was.
    """
    rng = make_rng(seed)
    drawn = draw(train, shots, rng)
    return drawn, (None if val is None else draw(val, min(shots, VAL_SHOTS), rng))
