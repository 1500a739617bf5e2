import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mocoop.errors import DataError
from mocoop.shapes import writer
from mocoop.shapes.sets import SETS
from mocoop.shapes.writer import ensure_set, read_styles

SMALL = replace(SETS["ShapesBoth"], train=2, val=1, test=1)
VARIANT = replace(SETS["ShapesBothFaded"], test=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "root" / "shapes_both"
    ensure_set(SMALL, folder)
    return folder


def read_split(folder, name="ShapesBoth"):
    return json.loads((folder / f"split_zhou_{name}.json").read_text())


def test_layout_is_coops(folder):
    split = read_split(folder)
    assert {part: len(rows) for part, rows in split.items()} == {"train": 160, "val": 80, "test": 80}
    for rows in split.values():
        assert sorted({label for _, label, _ in rows}) == list(range(80))
        assert all(SMALL.classnames[label] == name for _, label, name in rows)
    paths = [path for rows in split.values() for path, _, _ in rows]
    files = {p.relative_to(folder / "images").as_posix() for p in (folder / "images").rglob("*.png")}
    assert len(paths) == len(set(paths)) and set(paths) == files
    with Image.open(folder / "images" / paths[0]) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))


def test_metadata_names_the_style_of_each_picture(folder):
    styles = read_styles(folder)
    assert set(styles) == {path for rows in read_split(folder).values() for path, _, _ in rows}
    assert set(styles.values()) == {style for style, _ in SMALL.styles}
    assert np.mean([style == "photo" for style in styles.values()]) == pytest.approx(0.3, abs=0.1)
    with open(folder / "metadata.csv", newline="") as file:
        assert next(csv.reader(file)) == ["path", "style"]
    brightness = {"dark": [], "photo": []}
    for path, style in styles.items():
        if style in brightness:
            brightness[style].append(np.asarray(Image.open(folder / "images" / path)).mean())
    assert max(brightness["dark"]) < min(brightness["photo"])


def test_same_set_again_has_the_same_pictures_and_one_that_is_there_is_left_alone(folder, tmp_path):
    ensure_set(SMALL, tmp_path / "again")
    for path in read_styles(folder):
        first, again = (np.asarray(Image.open(f / "images" / path)) for f in (folder, tmp_path / "again"))
        assert (first == again).all()
    before = (folder / "metadata.csv").stat().st_mtime_ns
    ensure_set(SMALL, folder)
    assert (folder / "metadata.csv").stat().st_mtime_ns == before


def test_variant_lends_its_test_pictures_for_training_and_another_data_version_is_refused(tmp_path, monkeypatch):
    ensure_set(VARIANT, tmp_path / "faded")
    split = read_split(tmp_path / "faded", "ShapesBothFaded")
    assert split["train"] == split["test"] and len(split["test"]) == 80 and split["val"] == []
    assert set(read_styles(tmp_path / "faded").values()) == {"faded"}
    monkeypatch.setattr(writer, "DATA_VERSION", 999)
    with pytest.raises(DataError, match="data_version.*expected.*999.*remove the folder"):
        ensure_set(VARIANT, tmp_path / "faded")


@pytest.mark.parametrize("failure", [RuntimeError("cut"), KeyboardInterrupt()])
def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch, failure):
    def cut(folder, *args):
        raise failure

    monkeypatch.setattr(writer, "_about", cut)
    with pytest.raises(type(failure)):
        ensure_set(VARIANT, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_writers_that_start_at_once_do_not_collide(tmp_path):
    folder = tmp_path / "set"
    with ThreadPoolExecutor(3) as pool:
        for result in [pool.submit(ensure_set, VARIANT, folder) for _ in range(3)]:
            result.result()
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert len(list(folder.rglob("*.png"))) == 80


def test_a_foreign_folder_is_refused_and_kept_and_a_root_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "photos.txt").write_text("mine")
    with pytest.raises(DataError, match="no readable about.json, expected"):
        ensure_set(VARIANT, tmp_path)
    with pytest.raises(DataError, match="cannot be written .*--root"):
        ensure_set(VARIANT, tmp_path / "photos.txt" / "set")
    assert (tmp_path / "photos.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "path,style\nx.png\n", "path,style\nx.png,cubist\n"])
def test_damaged_metadata_is_named(tmp_path, text):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match="metadata.csv.*expected path,style"):
        read_styles(tmp_path)
