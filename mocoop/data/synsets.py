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


def synset_items(image_dir: str, listing: dict[str, list[str]], names_file: str) -> list[Item]:
    """The images of class folders, {folder: file names}, labelled in the sorted order of the folders.

    Raises DataError if `names_file` has no class name for a folder.
    """
    names = read_classnames(names_file)
    items: list[Item] = []
    for label, (folder, files) in enumerate(sorted(listing.items())):
        if folder not in names:
            raise DataError(f"{names_file}: no class name for the folder {folder}, expected one for each")
        items.extend(Item(f"{image_dir}/{folder}/{file}", label, names[folder]) for file in files)
    return items


class SynsetTestSet(BenchmarkDataset):
    """A test-only variant of ImageNet: one folder per WordNet id, labelled in the sorted order of the ids it has."""

    raw_files = ("classnames.txt",)
    test_only = True

    def read_raw(self) -> Splits:
        listing = {folder: list_images(f"{self.image_dir}/{folder}") for folder in list_folders(self.image_dir)}
        return Splits([], None, synset_items(self.image_dir, listing, f"{self.dataset_dir}/classnames.txt"))
