"""ImageNet's class folders, called by WordNet id, and `classnames.txt`, which names them.

classnames.txt has one class a line in label order: "n01440764 tench". An index of the folders, kept as a text file with
names relative to the tree so that the tree can be moved, saves a second start from listing a million files: it
remembers when each class folder was last changed and lists again those that were changed since; deleting it is always
safe.
"""

import json
import logging
import os
from collections.abc import Sequence

from tqdm import tqdm

from mocoop.data.base import BenchmarkDataset
from mocoop.data.item import Item, Splits
from mocoop.data.lists import parse_lines
from mocoop.data.paths import list_folders, list_images
from mocoop.errors import DataError
from mocoop.files import atomic_write, read_json

log = logging.getLogger(__name__)

FORMAT = 1


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


def list_class_folders(tree: str, parts: Sequence[str], index_path: str) -> dict[str, dict[str, list[str]]]:
    """The image names of `tree/<part>/<class folder>/`, as {part: {class folder: sorted names}}.

    Raises DataError for a part that has no class folders.
    """
    known = _read_index(index_path) if os.path.exists(index_path) else {}
    fresh = {part: _list_part(tree, part, known.get(part, {})) for part in parts}
    if fresh != known:
        _write_index(index_path, fresh)
    return {part: {name: entry["images"] for name, entry in folders.items()} for part, folders in fresh.items()}


def _list_part(tree: str, part: str, known: dict) -> dict[str, dict]:
    folders = list_folders(f"{tree}/{part}")
    if not folders:
        raise DataError(
            f"{tree}/{part}: got no class folder, expected one for each class; if the images lie loose in it, "
            "move each into the folder of its class (ImageNet in DATASETS.md says how)"
        )
    entries = {}
    for name in tqdm(folders, desc=f"indexing {part}", disable=None, leave=False):
        changed = os.stat(f"{tree}/{part}/{name}").st_mtime_ns
        entry = known.get(name)
        if entry is None or entry["changed"] != changed:
            entry = {"changed": changed, "images": list_images(f"{tree}/{part}/{name}")}
        entries[name] = entry
    return entries


def _read_index(path: str) -> dict:
    try:
        content = read_json(path, "index")
        parts = content["parts"] if content["format"] == FORMAT else {}
        entries = [entry for folders in parts.values() for entry in folders.values()]
        if not all(entry.keys() == {"changed", "images"} and "/" not in "".join(entry["images"]) for entry in entries):
            raise ValueError("it has entries that are no lists of names")
        return parts
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s) and is made again", path, error)
        return {}


def _write_index(path: str, parts: dict) -> None:
    try:
        with atomic_write(path) as file:
            json.dump({"format": FORMAT, "parts": parts}, file, ensure_ascii=False, separators=(",", ":"))
    except OSError as error:
        log.warning("the index is not stored, and the next start lists the images again: %s: %s", path, error.strerror)
