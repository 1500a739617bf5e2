"""Files that list images: split files and manifests."""

import hashlib
import json
import os

import pytest

from mocoop.data.item import Item
from mocoop.data.lists import (
    Record,
    encode_manifest,
    match_records,
    read_manifest,
    read_split,
    text_sha256,
    write_split,
)
from mocoop.errors import DataError
from tests.data.toy import make_splits


@pytest.fixture
def split_path(tmp_path):
    return tmp_path / "split_zhou_ToySet.json"


def test_what_is_written_is_read_back_and_the_first_writer_wins(split_path):
    """With paths from the images' folder, which may move."""
    splits = make_splits("/data/toy/images")
    write_split(split_path, splits, "/data/toy/images")
    write_split(split_path, make_splits("/data/toy/images", sizes=(1, 2, 3)), "/data/toy/images")
    assert read_split(split_path, "/data/toy/images") == splits
    assert os.listdir(split_path.parent) == [split_path.name]
    assert json.loads(split_path.read_text())["val"][0] == ["ant/val0.jpg", 0, "ant"]
    assert read_split(split_path, "/elsewhere").val[0].impath == "/elsewhere/ant/val0.jpg"


def test_a_path_outside_the_images_is_refused(split_path):
    for path in ("/etc/passwd", "../../secret.jpg", "ant/../../../x.jpg", "a\\..\\..\\x.jpg", "C:\\x.jpg", ""):
        split_path.write_text(json.dumps({"train": [[path, 0, "ant"]], "val": [], "test": []}))
        with pytest.raises(DataError, match="split_zhou_ToySet.json"):
            read_split(split_path, "/data/toy/images")
    split_path.write_text(json.dumps({"train": [["a/..b..jpg", 0, "ant"]], "val": [], "test": []}))
    assert read_split(split_path, "/i").train[0].impath == "/i/a/..b..jpg"  # dots in a name are no way out


TRAIN = [Item("/d/i/a b/1.jpg", 0, "a b"), Item("/d/i/é/x\u2028y.jpg", 1, "é", domain=3)]
VAL = [Item("/d/i/a b/2.jpg", 0, "a b")]
KNOWN = {item.impath[5:]: item for item in TRAIN + VAL}


def test_lines_hold_split_path_label_name_and_the_domain_where_there_is_one(tmp_path):
    text = encode_manifest(TRAIN, VAL, "/d/i")
    lines = [json.loads(line) for line in text.split("\n") if line]
    assert lines[0] == {"split": "train", "path": "a b/1.jpg", "label": 0, "classname": "a b"}
    assert lines[1]["domain"] == 3 and lines[1]["classname"] == "é"
    assert lines[2] == {"split": "val", "path": "a b/2.jpg", "label": 0, "classname": "a b"}
    assert len(lines) == 3
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    records = read_manifest(tmp_path / "m.jsonl")
    assert match_records(records["train"], KNOWN, "m") == TRAIN
    assert match_records(records["val"], KNOWN, "m") == VAL
    assert text_sha256(text) == hashlib.sha256((tmp_path / "m.jsonl").read_bytes()).hexdigest()
    moved = [item._replace(impath=item.impath.replace("/d/i", "/mnt/x")) for item in TRAIN]
    assert encode_manifest(moved, None, "/mnt/x") == encode_manifest(TRAIN, None, "/d/i")


@pytest.mark.parametrize("line", ["{", '{"split": "train", "path": "a", "label": "b", "classname": "a"}'])
def test_a_bad_line_is_named_by_number(tmp_path, line):
    good = encode_manifest(TRAIN[:1], None, "/d/i")
    (tmp_path / "m.jsonl").write_text(good + line + "\n")
    with pytest.raises(DataError, match="m.jsonl, line 2"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_path_of_another_machine_is_found_by_its_tail():
    for before in ("", "toy/images/", "/home/someone/DATA/toy/images/"):
        assert match_records([Record(f"{before}a b/1.jpg", 0, None)], KNOWN, "m") == [TRAIN[0]]
    assert match_records([Record("C:\\data\\toy\\images\\a b\\1.jpg", 0, None)], KNOWN, "m") == [TRAIN[0]]


@pytest.mark.parametrize(
    "record", [Record("a b/3.jpg", 0, "a b"), Record("a b/1.jpg", 1, "a b"), Record("a b/1.jpg", 0, "c")]
)
def test_a_record_of_another_split_is_refused(record):
    with pytest.raises(DataError, match="m: .*a b/"):
        match_records([record], KNOWN, "m")
