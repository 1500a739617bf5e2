"""`classnames.txt`: the class name of each ImageNet folder, in label order, one "n01440764 tench" a line."""

import os
from pathlib import Path

from mocoop.data.item import Item
from mocoop.data.paths import list_folders, list_images
from mocoop.errors import DataError


def read_classnames(path: str | os.PathLike) -> dict[str, str]:
    """Class names by folder name, in the order of the file. Raises DataError naming a line without a class name."""
    names = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable list of class names ({error})") from error
    for number, line in enumerate(lines, start=1):
        folder, _, name = line.strip().partition(" ")
        if not name:
            raise DataError(f"{path}, line {number}: got {line!r}, expected a folder name and a class name")
        names[folder] = name
    return names


def class_name_of(folder: str, names: dict[str, str], dataset_dir: str) -> str:
    """Class name of a folder; raises DataError when classnames.txt has none."""
    if folder not in names:
        raise DataError(f"{dataset_dir}/classnames.txt: no class name for the folder {folder}, expected one for each folder "
                        "of images")
    return names[folder]


def read_synset_folders(image_dir: str, names: dict[str, str], dataset_dir: str) -> list[Item]:
    """The images of a folder with one sub-folder per WordNet id, labelled in the sorted order of the ids it has."""
    items = []
    for label, folder in enumerate(list_folders(image_dir)):
        classname = class_name_of(folder, names, dataset_dir)
        paths = (f"{image_dir}/{folder}/{name}" for name in list_images(f"{image_dir}/{folder}"))
        items.extend(Item(path, label, classname) for path in paths)
    return items
