"""Splits of data that come without one, drawn as CoOp draws them in a fresh process with the same seed.

Images of a folder are taken in sorted order; CoOp takes the order in which the file system lists them.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from mocoop.data.item import Item, Splits
from mocoop.data.paths import list_folders, list_images
from mocoop.errors import DataError


def split_trainval(items: Sequence[Item], rng: random.Random, val_share: float = 0.2) -> tuple[list[Item], list[Item]]:
    """Shuffle the items of each label and move the first fifth to validation; returns (train, val).

    The draw of CoOp's `OxfordPets.split_trainval`.
    """
    by_label = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    train, val = [], []
    for members in by_label.values():
        n_val = round(len(members) * val_share)
        _check(n_val, f"class {members[0].classname!r}", len(members))
        rng.shuffle(members)
        val.extend(members[:n_val])
        train.extend(members[n_val:])
    return train, val


def split_classes(classes: Sequence[Sequence[Item]], rng: random.Random) -> Splits:
    """Shuffle the items of each class and give half to training, a fifth to validation, the rest to testing.

    The draw of CoOp's `DescribableTextures.read_and_split_data`.
    """
    splits = Splits([], [], [])
    for members in classes:
        members = list(members)
        rng.shuffle(members)
        n_train, n_val = round(len(members) * 0.5), round(len(members) * 0.2)
        _check(min(n_train, n_val, len(members) - n_train - n_val), f"class {members[0].classname!r}", len(members))
        splits.train.extend(members[:n_train])
        splits.val.extend(members[n_train : n_train + n_val])
        splits.test.extend(members[n_train + n_val :])
    return splits


def split_class_folders(
    image_dir: str, rng: random.Random, ignored: Collection[str] = (), renamed: Mapping[str, str] | None = None
) -> Splits:
    """`split_classes` of a folder with one sub-folder per class, labelled in sorted order.

    Args:
        image_dir: absolute folder.
        ignored: sub-folders that are no classes.
        renamed: class names of sub-folders that are not called like their class.
    """
    renamed = renamed or {}
    folders = [name for name in list_folders(image_dir) if name not in ignored]
    classes = []
    for label, folder in enumerate(folders):
        classname = renamed.get(folder, folder)
        names = list_images(f"{image_dir}/{folder}")
        _check(len(names), f"{image_dir}/{folder}", len(names))
        classes.append([Item(f"{image_dir}/{folder}/{name}", label, classname) for name in names])
    if not classes:
        raise DataError(f"{image_dir}: got no class folder, expected one for each class")
    return split_classes(classes, rng)


def _check(smallest: int, name: str, total: int) -> None:
    if smallest < 1:
        raise DataError(f"{name}: got {total} images, too few to split; put back what is missing or get the split file")
