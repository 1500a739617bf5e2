"""Splits of data that come without one, drawn as CoOp draws them in a fresh process with the same seed.

Images of a folder are taken in sorted order; CoOp takes the order in which the file system lists them.
"""

import random
from collections.abc import Sequence

from mocoop.data.base import BenchmarkDataset
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Item, Splits, by_label
from mocoop.data.paths import list_folders, list_images
from mocoop.errors import DataError

TEST_SHARE, VAL_SHARE = 0.3, 0.2  # of own images; CoOp's datasets lend the same share to validation


def split_trainval(items: Sequence[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """Shuffle the items of each label and move the first fifth to validation; returns (train, val).

    The draw of CoOp's `OxfordPets.split_trainval`.
    """
    for members in by_label(items):
        _check(round(len(members) * VAL_SHARE), f"class {members[0].classname!r}", len(members))
    return split_off_val(items, rng)


def split_classes(classes: Sequence[Sequence[Item]], rng: random.Random) -> Splits:
    """Shuffle the items of each class and give half to training, a fifth to validation, the rest to testing.

    The draw of CoOp's `DescribableTextures.read_and_split_data`.
    """
    train: list[Item] = []
    val: list[Item] = []
    test: list[Item] = []
    for members in classes:
        members = list(members)
        rng.shuffle(members)
        n_train, n_val = round(len(members) * 0.5), round(len(members) * 0.2)
        _check(min(n_train, n_val, len(members) - n_train - n_val), f"class {members[0].classname!r}", len(members))
        train.extend(members[:n_train])
        val.extend(members[n_train : n_train + n_val])
        test.extend(members[n_train + n_val :])
    return Splits(train, val, test)


class ClassFolders(BenchmarkDataset):
    """A dataset of one folder for each class, labelled in sorted order, split by `split_classes`."""

    ignored: tuple[str, ...] = ()  # sub-folders that are no classes
    renamed: dict[str, str] = {}  # class names of sub-folders that are not called like their class

    def read_raw(self) -> Splits:
        classes = []
        for label, name in enumerate(name for name in list_folders(self.image_dir) if name not in self.ignored):
            folder = f"{self.image_dir}/{name}"
            images = list_images(folder)
            _check(len(images), folder, len(images))
            classes.append([Item(f"{folder}/{image}", label, self.renamed.get(name, name)) for image in images])
        if not classes:
            raise DataError(f"{self.image_dir}: got no class folder, expected one for each class")
        return split_classes(classes, make_rng(self.seed))


def split_stratified(items: Sequence[Item], rng: random.Random) -> Splits:
    """Of each class 30 % for testing, 20 % for validation, the rest for training.

    A class with three images or more has at least one in each split; the second image of a class of two is for testing,
    an only image for training.
    """
    train: list[Item] = []
    val: list[Item] = []
    test: list[Item] = []
    for members in by_label(items):
        rng.shuffle(members)
        n_test = _share(TEST_SHARE, len(members), at_least=2)
        n_val = _share(VAL_SHARE, len(members), at_least=3)
        test.extend(members[:n_test])
        val.extend(members[n_test : n_test + n_val])
        train.extend(members[n_test + n_val :])
    return Splits(train, val, test)


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


def _check(smallest: int, name: str, total: int) -> None:
    if smallest < 1:
        raise DataError(f"{name}: got {total} images, too few to split; put back what is missing or get the split file")
