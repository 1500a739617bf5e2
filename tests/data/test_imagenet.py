import json
import os
import time

import pytest

from mocoop.data import imagenet as index
from mocoop.data.imagenet import list_class_folders
from mocoop.errors import DataError


@pytest.fixture
def tree(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for folder in ("n02", "n01"):
            (tmp_path / "images" / part / folder).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "images" / part / folder / f"{folder}_{number}.JPEG").touch()
            (tmp_path / "images" / part / folder / ".hidden.JPEG").touch()
    return tmp_path


@pytest.fixture
def listings(monkeypatch):
    """Counts the folders whose images are listed."""
    listed, real = [], index.list_images
    monkeypatch.setattr(index, "list_images", lambda folder: listed.append(folder) or real(folder))
    return listed


def list_tree(root):
    return list_class_folders(str(root / "images"), ("train", "val"), str(root / "index.json"))


def test_lists_folders_and_images_in_sorted_order_whatever_a_damaged_index_says(tree):
    expected = {
        part: {folder: [f"{folder}_{n}.JPEG" for n in range(count)] for folder in ("n01", "n02")}
        for part, count in (("train", 4), ("val", 2))
    }
    assert list_tree(tree) == expected
    for content in ("", "[]", "{}", '{"format": 0, "parts": {}}', '{"format": 1, "parts": {"train": {"n01"'):
        (tree / "index.json").write_text(content)
        assert list_tree(tree) == expected
        assert json.loads((tree / "index.json").read_text())["format"] == 1


def test_the_second_start_lists_no_images_wherever_the_tree_is_but_of_a_folder_that_changed(tree, listings):
    first = list_tree(tree)
    assert len(listings) == 4
    moved = tree.rename(tree.with_name("moved"))
    assert list_tree(moved) == first and len(listings) == 4
    changed = moved / "images/train/n02"
    (changed / "n02_9.JPEG").touch()
    os.utime(changed, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert list_tree(moved)["train"]["n02"][-1] == "n02_9.JPEG"
    assert listings[4:] == [str(changed)]


def test_loose_images_are_explained(tree):
    for folder in (tree / "images/val").iterdir():
        folder.rename(tree / folder.name)
    (tree / "images/val/ILSVRC2012_val_00000001.JPEG").touch()
    with pytest.raises(DataError, match="images/val: got no class folder"):
        list_tree(tree)
