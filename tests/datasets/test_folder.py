import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

import datasets  # noqa: F401  (registers them)
from mocoop.data import inspection
from mocoop.data.config import folder_defaults
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import ConfigError, DataError
from mocoop.images import own_reading, read_image
from mocoop.results.record import CHANGEABLE_KEYS
from tests.data.toy import make_cfg
from tests.datasets.own import PICTURE, make_own_tree, save
from tests.hostile.images import png

NAMES = ["Fée verte", "grand_duc", "sea eagle"]


def build(root, shots=-1, seed=1, classes="all", follow_links=False, **settings):
    cfg = make_cfg(root, shots, seed, classes)
    cfg.DATASET.FOLLOW_LINKS = follow_links
    cfg.DATASET.FOLDER = folder_defaults()
    cfg.DATASET.FOLDER.update(settings)
    return DATASET_REGISTRY.get("Folder")(cfg)


def fill(root, *folders, count=4, suffix="png"):
    for folder in folders:
        for number in range(count):
            save(root / folder / f"{number}.{suffix}")


def dataset_reading(dataset):
    return own_reading(dataset.settings.READ, dataset.settings.BACKGROUND)


def relative(items, root) -> list[str]:
    return [os.path.relpath(item.impath, root) for item in items]


def everything(dataset, root):
    return [
        (relative(items, root), [item.label for item in items])
        for items in (dataset.train_x, dataset.val, dataset.test)
    ]


@pytest.fixture
def root(tmp_path):
    return make_own_tree(tmp_path / "own")


def test_class_folders_are_split_by_class_and_the_corrupt_image_is_named(root, caplog):
    dataset = build(root)
    assert dataset.classnames == NAMES
    assert [len(dataset.train_x), len(dataset.val), len(dataset.test)] == [3 + 3 + 2, 3, 2 + 2 + 2]
    for items in (dataset.train_x, dataset.val, dataset.test):
        assert {item.label for item in items} == {0, 1, 2}
    paths = relative([*dataset.train_x, *dataset.val, *dataset.test], root)
    assert len(set(paths)) == 17 and "sea eagle/photo nº 2.jpg" not in paths
    assert "left out, cannot be read" in caplog.text and "sea eagle/photo nº 2.jpg" in caplog.text
    with pytest.raises(DataError, match="cannot be read: .*sea eagle/photo nº 2.jpg .*BAD_IMAGES skip") as caught:
        build(root, BAD_IMAGES="error")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="BAD_IMAGES is 'ignore'"):
        build(root, BAD_IMAGES="ignore")


def test_the_split_is_kept_when_images_come_and_go_and_depends_on_its_own_seed_only(root, caplog):
    first, before = build(root, seed=1), everything(build(root, seed=1), root)
    (root / "split_zhou_Folder.json").unlink()
    assert everything(build(root, seed=2), root) == before
    save(root / "grand_duc/new.jpg")
    gone = next(item.impath for item in first.test if item.label == 1)
    os.remove(gone)
    second = build(root, seed=5)
    assert relative(second.train_x, root) == relative(first.train_x, root)
    assert [i.impath for i in second.test] == [i.impath for i in first.test if i.impath != gone]
    assert "1 images are not used" in caplog.text
    (root / "split_zhou_Folder.json").unlink()
    third = everything(build(root), root)
    assert "grand_duc/new.jpg" in sum((paths for paths, _ in third), [])
    (root / "split_zhou_Folder.json").unlink()
    assert everything(build(root, SPLIT_SEED=7), root) != third


def test_few_shots_and_base_and_new(root):
    dataset = build(root, shots=16)
    assert len(dataset.train_x) == 8 and len(dataset.val) == 3  # fewer than the shots: all there are
    assert len(build(root, shots=1).train_x) == 3
    base, new = build(root, shots=2, classes="base"), build(root, shots=2, classes="new")
    assert (base.classnames, new.classnames) == (NAMES[:2], NAMES[2:])
    assert {item.label for item in new.test} == {0} and base.all_classnames == NAMES
    lines = ["label,classname", "sea eagle,white-tailed eagle", "grand_duc,eagle owl", "Fée verte,absinthe"]
    write_csv(root, *lines, name="names.csv")
    dataset = build(root, CLASSNAMES="names.csv")  # names and order
    assert dataset.classnames == ["white-tailed eagle", "eagle owl", "absinthe"]
    assert all("sea eagle" in item.impath for item in dataset.test if item.label == 0)
    write_csv(root, *lines[:2], name="names.csv")
    with pytest.raises(DataError, match="no class name for the label 'Fée verte'"):
        build(root, CLASSNAMES="names.csv")


@pytest.mark.parametrize("count, parts", [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (5, 2, 3))])
def test_small_and_unbalanced_classes(tmp_path, caplog, count, parts):
    fill(tmp_path, "many", count=20), fill(tmp_path, "few", count=count)
    dataset = build(tmp_path)
    splits = (dataset.train_x, dataset.val, dataset.test)
    assert tuple(sum(item.classname == "few" for item in items) for items in splits) == parts
    assert ("class 'few' has no image to test on" in caplog.text) == (count == 1)


def test_a_class_without_a_readable_image_is_left_out_of_the_labels(tmp_path):
    save(tmp_path / "bad/1.jpg", "corrupt"), fill(tmp_path, "a", "c")
    assert build(tmp_path).classnames == ["a", "c"]


def test_given_split_folders(tmp_path):
    for part, count in (("train", 5), ("valid", 2), ("Test", 3)):
        fill(tmp_path / "three", f"{part}/a", f"{part}/b", count=count)
    dataset = build(tmp_path / "three")
    assert [len(dataset.train_x), len(dataset.val), len(dataset.test)] == [10, 4, 6]
    assert all("valid/" in item.impath for item in dataset.val)
    assert not (tmp_path / "three/split_zhou_Folder.json").exists()
    fill(tmp_path / "two", "train/a", "test/a", count=10)
    dataset = build(tmp_path / "two")  # a fifth is lent to validation
    assert [len(dataset.train_x), len(dataset.val), len(dataset.test)] == [8, 2, 10]
    assert not set(relative(dataset.val, tmp_path)) & set(relative(dataset.train_x, tmp_path))


def test_a_class_may_be_called_train_and_what_is_left_out_is_named(tmp_path, caplog):
    fill(tmp_path, "car", "train", "output")
    (tmp_path / "downloads").mkdir()
    assert build(tmp_path).classnames == ["car", "train"]
    assert [record.message for record in caplog.records] == ["left out, no class: the images in output/"]
    (tmp_path / "train").rename(tmp_path / "rail")
    for part in ("train", "test"):
        save(tmp_path / part / "car/1.png"), save(tmp_path / part / "car/2.png")
    caplog.clear()
    assert build(tmp_path).classnames == ["car"]
    assert [record.message.split()[-1] for record in caplog.records] == ["car/", "output/", "rail/"]


def write_csv(root, *lines, name="images.csv", encoding="utf-8"):
    (root / name).write_text("\n".join(lines) + "\n", encoding=encoding)


def test_csv_with_split_and_domain(tmp_path):
    lines = ["path,label,split,domain"]
    for number in range(12):
        part, domain = ("train", "val", "test")[number % 3], ("studio", "field")[number % 2]
        save(tmp_path / f"pics/{number}.png")
        lines.append(f"pics/{number}.png,{'owl' if number < 6 else 'kite'},{part},{domain}")
    write_csv(tmp_path, *lines)
    dataset = build(tmp_path, CSV="images.csv", shots=1)
    assert dataset.classnames == ["kite", "owl"] and dataset.domains == ["field", "studio"]
    for item in [*dataset.train_x, *dataset.val, *dataset.test]:
        number = int(os.path.basename(item.impath)[:-4])
        assert item.label == (number < 6) and dataset.domains[item.domain] == ("studio", "field")[number % 2]


def test_csv_from_a_spreadsheet(tmp_path, caplog):
    fill(tmp_path, ".", count=8)
    write_csv(tmp_path, "Label;Path", *(f"{10 if n < 4 else 9};{n}.png" for n in range(9)), encoding="utf-8-sig")
    dataset = build(tmp_path, CSV="images.csv")
    assert dataset.classnames == ["9", "10"]  # by value
    assert (tmp_path / "split_zhou_images.json").exists() and "8.png (no such file)" in caplog.text
    names = [unicodedata.normalize(form, "Fée") for form in ("NFC", "NFD")]  # accents in two ways are one class
    write_csv(tmp_path, "path,label", *(f"{n}.png,{names[n % 2]}" for n in range(8)), name="accents.csv")
    assert build(tmp_path, CSV="accents.csv").classnames == ["Fée"]


@pytest.mark.parametrize(
    "lines, message",
    [
        (["file,class", "a.png,x"], "its first line is 'file,class', expected the columns path, label"),
        (["path,label"], "lists no image"),
        (["path,label", "../a.png,x"], "line 2: got the path '../a.png'"),
        (["path,label", "/etc/a.png,x"], "line 2"),
        (["path,label", "a.png,"], "line 2: got no label"),
        (["path,label", "a.png,x", "b.png,x", "./a.png,y"], "line 4: got the image ./a.png again, after line 2"),
        (["path,label,split", "a.png,x,dev"], "line 2: got the split 'dev', expected train, val or test"),
        (["path,label,split", "a.png,x,train", "b.png,x,"], "a split for some images only"),
        (["path,label,split", "a.png,x,train", "b.png,x,train"], "no image to test on"),
    ],
)
def test_a_csv_that_cannot_be_used_is_explained(tmp_path, lines, message):
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    write_csv(tmp_path, *lines)
    with pytest.raises(DataError, match=message) as caught:
        build(tmp_path, CSV="images.csv")
    assert "\n" not in str(caught.value)


KINDS = "rgb.png grey.jpg palette.png palette.gif cmyk.jpg deep.png deep.tif rotated.jpg".split()


@pytest.mark.parametrize("kind, suffix", [name.split(".") for name in KINDS])
def test_every_kind_of_image_is_read_as_it_looks(tmp_path, kind, suffix):
    paths = [save(tmp_path / f"a/{number}.{suffix}", kind) for number in range(3)]
    before = [path.read_bytes() for path in paths]
    dataset = build(tmp_path)
    item = dataset.train_x[0]
    seen = np.asarray(read_image(item.impath, dataset_reading(dataset))).astype(int)
    assert seen.shape == PICTURE.shape
    expected = PICTURE
    if kind == "grey":
        expected = np.asarray(Image.fromarray(PICTURE).convert("L").convert("RGB"))
    elif kind == "deep":  # its two values are black and white
        expected = np.where(PICTURE[..., :1] > 0, 0, 255).repeat(3, axis=2)
    assert np.abs(seen[2] - expected[2]).max() < 40 and np.abs(seen[-3] - expected[-3]).max() < 40
    assert [path.read_bytes() for path in paths] == before
    split = json.loads((tmp_path / "split_zhou_Folder.json").read_text())
    assert split["train"][0][0].startswith("a/") and split["train"][0][0].endswith(suffix)


def test_images_are_looked_at_once_and_what_an_earlier_version_remembered_again(root, monkeypatch):
    build(root)
    memory, stamps = root / ".mocoop/images.json", {}
    for path, (stamp, *_) in json.loads(memory.read_text(encoding="utf-8"))["images"].items():
        stamps[path] = [stamp, "fine"]
    memory.write_text(json.dumps(stamps), encoding="utf-8")
    assert len(build(root).test) == 6
    looked = []
    monkeypatch.setattr(inspection, "_examine", lambda path: looked.append(path) or inspection.ImageFacts())
    build(root)
    assert looked == []
    save(root / "grand_duc/photo nº 0.jpg", "grey")
    build(root)
    assert looked == [f"{root}/grand_duc/photo nº 0.jpg"]


def test_nested_folders_and_other_files(tmp_path):
    fill(tmp_path, "a/2024", count=3)
    (tmp_path / "a/notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    dataset = build(tmp_path)
    found = relative([*dataset.train_x, *dataset.val, *dataset.test], tmp_path)
    assert sorted(found) == [f"a/2024/{n}.png" for n in range(3)]


def test_nothing_to_read_is_explained(tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "loose/1.png")
    for root, message in (
        ("empty", "got no folder with images"),
        ("loose", "got no folder with"),
        ("x", "does not exist"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            build(tmp_path / root)
        assert "\n" not in str(caught.value)


def deep(path, low, high, kind="<u2"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.linspace(low, high, 240).reshape(12, 20).astype(kind)).save(path)


def means(dataset, items):
    return [np.asarray(read_image(item.impath, dataset_reading(dataset))).mean() for item in items]


def test_deep_images_of_a_data_set_share_one_range(tmp_path, caplog):
    for number in range(10):
        deep(tmp_path / f"a/{number}.png", 100, 4095)
    deep(tmp_path / "a/dim.png", 100, 255)  # by itself it would fill the whole range
    dataset = build(tmp_path)
    assert dataset.settings.READ == "100,4095"
    items = sorted([*dataset.train_x, *dataset.val, *dataset.test], key=lambda item: item.impath)
    found = means(dataset, items)
    assert 120 < found[0] < 135 and found[-1] < 10
    assert [record.message for record in caplog.records] == [
        "nearly black: 1 of the 11 images with more than 8 bits, with values from 100 to 255; 100 is read as black, "
        '4095 as white, as DATASET.FOLDER.RANGE says ("minmax" of all images, "full", or "low,high")'
    ]


@pytest.mark.parametrize(
    "span, values, seen", [("full", (0, 4095), "nearly black"), ("0,255", (0, 4095), "nearly white"), ("0,4095", 0, "")]
)
def test_a_range_that_is_given_counts_and_what_it_spoils_is_said(tmp_path, caplog, span, values, seen):
    for number in range(4):
        deep(tmp_path / f"a/{number}.png", *(values or (0, 4095)))
    assert build(tmp_path, RANGE=span).settings.READ == span
    assert len(caplog.records) == bool(seen)
    assert f"{seen}: 4 of the 4 images with more than 8 bits, with values from 0 to 4095" in caplog.text or not seen


def test_flat_pictures_and_colours_of_16_bits_are_said(tmp_path, caplog):
    (tmp_path / "b").mkdir()
    for number in range(4):
        deep(tmp_path / f"a/{number}.png", 28000, 28010)
        (tmp_path / f"b/{number}.png").write_bytes(png(9, 9, bytes(9 * (1 + 9 * 6)), colour=2, bits=16))
    build(tmp_path, RANGE="full")
    assert "flat: 4 of the 8 images with more than 8 bits" in caplog.text
    line = "nearly black: 4 of the 8 images with more than 8 bits; of 16 bits a colour the upper 8 are read"
    assert line in caplog.text
    assert "DATASET.FOLDER.READ" in CHANGEABLE_KEYS  # the range that is found does not part a run from itself
