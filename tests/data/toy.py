"""A toy dataset for the tests of what all datasets share: classes of images in a fixed layout, and a config for it."""

from pathlib import Path

from yacs.config import CfgNode

from mocoop.data.base import ClassFolders
from mocoop.data.item import Item, Splits

CLASSES = ("ant", "bee", "cat", "dog", "elk")


class ToySet(ClassFolders):
    """Class folders under toy/images, split by chance when there is no split file."""

    dataset_dir = "toy"
    image_dir = "images"
    split_file = "split_zhou_ToySet.json"


def make_cfg(root, shots=-1, seed=1, classes="all") -> CfgNode:
    dataset = {"ROOT": str(root), "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": classes}
    return CfgNode({"SEED": seed, "DATASET": dataset})


def make_tree(root: Path, per_class: int = 20, classes=CLASSES) -> Path:
    for name in classes:
        folder = root / "toy/images" / name
        folder.mkdir(parents=True)
        for number in range(per_class):
            (folder / f"{number:03d}.jpg").touch()
    return root


def make_splits(image_dir: str, sizes=(12, 5, 3), classes=CLASSES) -> Splits:
    """`sizes` items a class in train, val and test, all of them different files."""
    return Splits(
        *(
            [
                Item(f"{image_dir}/{name}/{part}{number}.jpg", label, name)
                for label, name in enumerate(classes)
                for number in range(size)
            ]
            for part, size in zip(("train", "val", "test"), sizes)
        )
    )


def identity(items) -> list[tuple]:
    return [(item.impath, item.label, item.classname, item.domain) for item in items]
