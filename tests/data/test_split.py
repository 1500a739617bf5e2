import json
import os

import pytest

from mocoop.data.lists import read_split, write_split
from mocoop.errors import DataError
from tests.data.toy import make_splits


@pytest.fixture
def split_path(tmp_path):
    return tmp_path / "split_zhou_ToySet.json"


def test_what_is_written_is_read_back(split_path):
    splits = make_splits("/data/toy/images")
    write_split(split_path, splits, "/data/toy/images")
    assert read_split(split_path, "/data/toy/images") == splits


def test_paths_are_stored_relative_to_the_images(split_path):
    write_split(split_path, make_splits("/data/toy/images"), "/data/toy/images")
    assert json.loads(split_path.read_text())["val"][0] == ["ant/val0.jpg", 0, "ant"]
    moved = read_split(split_path, "/elsewhere")
    assert moved.val[0].impath == "/elsewhere/ant/val0.jpg"


def test_the_first_writer_wins(split_path):
    first, second = make_splits("/i", sizes=(3, 2, 1)), make_splits("/i", sizes=(1, 2, 3))
    write_split(split_path, first, "/i")
    write_split(split_path, second, "/i")
    assert read_split(split_path, "/i") == first
    assert os.listdir(split_path.parent) == [split_path.name]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../secret.jpg", "ant/../../../x.jpg", "a\\..\\..\\x.jpg", "C:\\x.jpg", ""]
)
def test_a_path_outside_the_images_is_refused(split_path, path):
    split_path.write_text(json.dumps({"train": [[path, 0, "ant"]], "val": [], "test": []}))
    with pytest.raises(DataError, match="split_zhou_ToySet.json"):
        read_split(split_path, "/data/toy/images")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"train": []}',
        '{"train": [["a.jpg", 0]], "val": [], "test": []}',
        '{"train": [["a.jpg", "x", "y"]], "val": [], "test": []}',
        '{"train": [3], "val": [], "test": []}',
        '{"train": [[1, 2, 3]], "val": [], "test": []}',
    ],
)
def test_a_file_that_is_no_split_is_named(split_path, text):
    split_path.write_text(text)
    with pytest.raises(DataError, match="split_zhou_ToySet.json") as caught:
        read_split(split_path, "/i")
    assert "\n" not in str(caught.value)


def test_dots_in_a_name_are_no_way_out(split_path):
    split_path.write_text(json.dumps({"train": [["a/..b..jpg", 0, "ant"]], "val": [], "test": []}))
    assert read_split(split_path, "/i").train[0].impath == "/i/a/..b..jpg"
