"""What is left to chance: few-shot subsets and splits, drawn as CoOp draws them in a fresh process of that seed."""

import random
from collections.abc import Callable, Sequence

from mocoop.data.item import Item, Splits, by_label
from mocoop.errors import DataError

VAL_SHOTS = 4
TEST_SHARE, VAL_SHARE = 0.3, 0.2  # of own images; CoOp's datasets lend the same share to validation


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


def split_trainval(items: Sequence[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """Shuffle the items of each label and move the first fifth to validation; returns (train, val).

    The draw of CoOp's `OxfordPets.split_trainval`.
    """
    for members in by_label(items):
        check_count(round(len(members) * VAL_SHARE), f"class {members[0].classname!r}", len(members))
    return split_off_val(items, rng)


def split_classes(classes: Sequence[Sequence[Item]], rng: random.Random) -> Splits:
    """Shuffle the items of each class and give half to training, a fifth to validation, the rest to testing.

    The draw of CoOp's `DescribableTextures.read_and_split_data`.
    """

    def sizes(members: list[Item]) -> tuple[int, int]:
        total, train, val = len(members), round(len(members) * 0.5), round(len(members) * 0.2)
        check_count(min(train, val, total - train - val), f"class {members[0].classname!r}", total)
        return train, val

    return Splits(*_cut(classes, rng, sizes))


def split_stratified(items: Sequence[Item], rng: random.Random) -> Splits:
    """Of each class 30 % for testing, 20 % for validation, the rest for training.

    A class with three images or more has at least one in each split; the second image of a class of two is for testing,
    an only image for training.
    """

    def sizes(members: list[Item]) -> tuple[int, int]:
        return _share(TEST_SHARE, len(members), at_least=2), _share(VAL_SHARE, len(members), at_least=3)

    test, val, train = _cut(by_label(items), rng, sizes)
    return Splits(train, val, test)


def split_off_val(items: Sequence[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """(train, val): of each class 20 % for validation, at least one where there are two or more."""
    val, _, train = _cut(by_label(items), rng, lambda members: (_share(VAL_SHARE, len(members), at_least=2), 0))
    return train, val


def _cut(
    classes: Sequence[Sequence[Item]], rng: random.Random, sizes: Callable[[list[Item]], tuple[int, int]]
) -> tuple[list[Item], list[Item], list[Item]]:
    """The items of each class, shuffled, in three parts: as many as the two `sizes` say, and the rest."""
    parts: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for members in map(list, classes):
        rng.shuffle(members)
        first, second = sizes(members)
        for part, own in zip(parts, (members[:first], members[first : first + second], members[first + second :])):
            part.extend(own)
    return parts


def _share(share: float, total: int, at_least: int) -> int:
    return max(1, round(share * total)) if total >= at_least else 0


def check_count(smallest: int, name: str, total: int) -> None:
    if smallest < 1:
        raise DataError(f"{name}: got {total} images, too few to split; put back what is missing or get the split file")
