import json

import pytest

from mocoop.data.exchange import FORMATS, read_subset, shots_and_seed, write_subset
from mocoop.data.item import Item
from mocoop.errors import ConfigError, DataError

TRAIN = [Item("/data/toy/images/é/1.jpg", 0, "é"), Item("/data/toy/images/b/1.jpg", 1, "b", domain=1)]
VAL = [Item("/data/toy/images/b/2.jpg", 1, "b")]


def write(form, folder, val=VAL):
    return write_subset(form, folder / "shot_1-seed_2", TRAIN, val, "/data/toy/images", "/data")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_back(tmp_path, form):
    for path in write(form, tmp_path):
        records = read_subset(path)
        for split, items in (("train", TRAIN), ("val", VAL)):
            assert [record.label for record in records[split]] == [item.label for item in items]
            assert all(item.impath.endswith(record.path) for record, item in zip(records[split], items, strict=True))
        assert shots_and_seed(path) == (1, 2)


def test_2sfs_has_two_files_with_paths_from_the_data_root(tmp_path):
    train, val = write("2sfs", tmp_path)
    assert (train.name, val.name) == ("shot_1-seed_2_train.jsonl", "shot_1-seed_2_val.jsonl")
    assert [json.loads(line) for line in train.read_text().splitlines()][1] == {
        "_impath": "toy/images/b/1.jpg",
        "_label": 1,
        "_domain": 1,
        "_classname": "b",
    }


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_overwritten(tmp_path, form):
    write(form, tmp_path)
    with pytest.raises(ConfigError, match="shot_1-seed_2.* exists"):
        write(form, tmp_path)


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"_impath": "a", "_label": "x"}'])
def test_a_bad_line_of_2sfs_is_named(tmp_path, line):
    train, _ = write("2sfs", tmp_path)
    train.write_text(train.read_text() + line + "\n")
    with pytest.raises(DataError, match="_train.jsonl, line 3"):
        read_subset(train)


def test_half_of_2sfs_is_not_enough(tmp_path):
    train, val = write("2sfs", tmp_path)
    val.unlink()
    with pytest.raises(DataError, match="_val.jsonl"):
        read_subset(train)


def test_a_name_without_shots_and_seed():
    from pathlib import Path

    assert shots_and_seed(Path("subset.pkl")) is None
