import hashlib
import json

import pytest

from mocoop.data.item import Item
from mocoop.data.lists import Record, encode_manifest, match_records, read_manifest, text_sha256
from mocoop.errors import DataError

TRAIN = [Item("/d/i/a b/1.jpg", 0, "a b"), Item("/d/i/é/x\u2028y.jpg", 1, "é", domain=3)]
VAL = [Item("/d/i/a b/2.jpg", 0, "a b")]
KNOWN = {item.impath[5:]: item for item in TRAIN + VAL}


def test_lines_hold_split_path_label_name_and_the_domain_where_there_is_one():
    lines = [json.loads(line) for line in encode_manifest(TRAIN, VAL, "/d/i").split("\n") if line]
    assert lines[0] == {"split": "train", "path": "a b/1.jpg", "label": 0, "classname": "a b"}
    assert lines[1]["domain"] == 3 and lines[1]["classname"] == "é"
    assert lines[2] == {"split": "val", "path": "a b/2.jpg", "label": 0, "classname": "a b"}
    assert len(lines) == 3


def test_written_and_read_back(tmp_path):
    text = encode_manifest(TRAIN, VAL, "/d/i")
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    records = read_manifest(tmp_path / "m.jsonl")
    assert match_records(records["train"], KNOWN, "m") == TRAIN
    assert match_records(records["val"], KNOWN, "m") == VAL
    assert text_sha256(text) == hashlib.sha256((tmp_path / "m.jsonl").read_bytes()).hexdigest()


def test_the_hash_does_not_depend_on_the_root():
    moved = [item._replace(impath=item.impath.replace("/d/i", "/mnt/x")) for item in TRAIN]
    assert encode_manifest(moved, None, "/mnt/x") == encode_manifest(TRAIN, None, "/d/i")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"split": "test", "path": "a", "label": 0, "classname": "a"}',
        "",
        '{"split": "train", "path": "../a", "label": 0, "classname": "a"}',
        '{"split": "train", "path": "a", "label": "b", "classname": "a"}',
    ],
)
def test_a_bad_line_is_named_by_number(tmp_path, line):
    good = encode_manifest(TRAIN[:1], None, "/d/i")
    (tmp_path / "m.jsonl").write_text(good + line + "\n")
    with pytest.raises(DataError, match="m.jsonl, line 2"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    "path",
    [
        "a b/1.jpg",
        "toy/images/a b/1.jpg",
        "/home/someone/DATA/toy/images/a b/1.jpg",
        "C:\\data\\toy\\images\\a b\\1.jpg",
    ],
)
def test_a_path_of_another_machine_is_found_by_its_tail(path):
    assert match_records([Record(path, 0, None)], KNOWN, "m") == [TRAIN[0]]


@pytest.mark.parametrize(
    "record", [Record("a b/3.jpg", 0, "a b"), Record("a b/1.jpg", 1, "a b"), Record("a b/1.jpg", 0, "c")]
)
def test_a_record_of_another_split_is_refused(record):
    with pytest.raises(DataError, match="m: .*a b/"):
        match_records([record], KNOWN, "m")
