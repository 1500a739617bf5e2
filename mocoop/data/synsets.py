"""ImageNet's classes as folders called by WordNet id, and `classnames.txt`, which names them.

classnames.txt has one class a line in label order: "n01440764 tench".
"""

import os

from mocoop.data.annotations import parse_lines
from mocoop.data.base import BenchmarkDataset
from mocoop.data.item import Item, Splits
from mocoop.data.paths import list_folders, list_images
from mocoop.errors import DataError


def read_classnames(path: str | os.PathLike) -> dict[str, str]:
    """Class names by folder name, in the order of the file. Raises DataError naming a line without a class name."""
    return dict(parse_lines(path, _folder_and_name, "a folder name and a class name"))


def _folder_and_name(line: str) -> tuple[str, str]:
    folder, name = line.split(" ", 1)
    return folder, name


def class_name_of(folder: str, names: dict[str, str], source: str) -> str:
    """Class name of a folder; raises DataError when `source`, the file of class names, has none."""
    if folder not in names:
        raise DataError(f"{source}: no class name for the folder {folder}, expected one for each folder of images")
    return names[folder]


class SynsetTestSet(BenchmarkDataset):
    """A test-only variant of ImageNet: one folder per WordNet id, labelled in the sorted order of the ids it has."""

    raw_files = ("classnames.txt",)
    test_only = True

    def read_raw(self) -> Splits:
        names_file = f"{self.dataset_dir}/classnames.txt"
        names = read_classnames(names_file)
        items = []
        for label, folder in enumerate(list_folders(self.image_dir)):
            classname = class_name_of(folder, names, names_file)
            paths = (f"{self.image_dir}/{folder}/{name}" for name in list_images(f"{self.image_dir}/{folder}"))
            items.extend(Item(path, label, classname) for path in paths)
        return Splits([], None, items)
