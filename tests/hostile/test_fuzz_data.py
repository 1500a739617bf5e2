"""Spoiled splits, few-shot subsets and csv files."""

import json
import os
import pickle

from hypothesis import given
from hypothesis import strategies as st

from mocoop.data.exchange import pickled_subset, read_pickled_subset, read_subset
from mocoop.data.image_csv import label_order, read_class_names, read_image_csv
from mocoop.data.imagenet import list_class_folders
from mocoop.data.inspection import ImageFacts, inspect_images
from mocoop.data.item import Item, check_labels, class_names
from mocoop.data.lists import encode_manifest, read_manifest, read_split, text_sha256
from tests.hostile.fuzz import FUZZ, odd_json, odd_text, spoiled, spoiled_json, value_or_refusal
from tests.hostile.images import JPEG

IMAGES = "/data/toy/images"
SPLIT = {
    "train": [["ant/0.jpg", 0, "ant"], ["bee/0.jpg", 1, "bee"]],
    "val": [["ant/1.jpg", 0, "ant"]],
    "test": [["bee/1.jpg", 1, "bee"]],
}
ITEMS = [Item(f"{IMAGES}/{path}", label, name) for path, label, name in SPLIT["train"]]
MANIFEST = encode_manifest(ITEMS, ITEMS[:1], IMAGES).encode()
TWO_SFS = b'{"_impath": "toy/images/ant/0.jpg", "_label": 0}\n{"_impath": "toy/images/bee/0.jpg", "_label": 1}\n'
CSV = b'path,label,split,domain\nant/0.jpg,ant,train,photo\n"bee/0.jpg","b;ee",test,\n'
CLASS_NAMES = b"label;classname\nant;red ant\nbee;honey bee\n"


def put(folder, name: str, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


def inside(path: str, root: str) -> bool:
    return (os.path.normpath(path) + "/").startswith(root + "/") and "\0" not in path


def whole_split(path):
    splits = read_split(path, IMAGES)
    names = class_names(splits.train, "toy")
    check_labels(splits, names, "toy")
    return splits, names


def check_split(folder, content: bytes) -> None:
    found = value_or_refusal("split", whole_split, put(folder, "split.json", content))
    if found:
        splits, names = found
        for item in (*splits.train, *splits.val, *splits.test):
            assert inside(item.impath, IMAGES) and type(item.label) is int and 0 <= item.label < len(names)
        assert all(name.strip() and "\n" not in name for name in names)
        assert len(text_sha256(encode_manifest(splits.train, splits.val, IMAGES))) == 64


@FUZZ
@given(content=spoiled(json.dumps(SPLIT).encode()))
def test_spoiled_bytes_of_a_split(folder, content):
    check_split(folder, content)


@FUZZ
@given(content=spoiled_json(SPLIT))
def test_spoiled_values_of_a_split(folder, content):
    check_split(folder, json.dumps(content).encode())


@FUZZ
@given(content=spoiled(MANIFEST))
def test_manifests(folder, content):
    records = value_or_refusal("manifest", read_manifest, put(folder, "m.jsonl", content))
    for record in records["train"] + records["val"] if records else ():
        assert inside(f"{IMAGES}/{record.path}", IMAGES) and record.label >= 0


@FUZZ
@given(values=st.lists(spoiled_json(json.loads(MANIFEST.splitlines()[0])), min_size=1, max_size=3))
def test_values_of_manifests(folder, values):
    text = "".join(json.dumps(value) + "\n" for value in values)
    records = value_or_refusal("manifest", read_manifest, put(folder, "m.jsonl", text.encode()))
    for record in records["train"] + records["val"] if records else ():
        assert inside(f"{IMAGES}/{record.path}", IMAGES) and record.label >= 0


@FUZZ
@given(content=spoiled(TWO_SFS))
def test_subsets_of_2sfs(folder, content):
    put(folder, "s_val.jsonl", TWO_SFS)
    value_or_refusal("2sfs", read_subset, put(folder, "s_train.jsonl", content))


@FUZZ
@given(content=spoiled(pickled_subset(ITEMS, ITEMS[:1])))
def test_pickled_subsets(folder, content):
    records = value_or_refusal("pickle", read_pickled_subset, put(folder, "s.pkl", content))
    assert records is None or all(type(r.path) is str and r.label >= 0 for r in records["train"] + records["val"])


@FUZZ
@given(value=odd_json, protocol=st.integers(0, 5))
def test_other_pickles(folder, value, protocol):
    value_or_refusal("pickle", read_pickled_subset, put(folder, "s.pkl", pickle.dumps({"train": value}, protocol)))


@FUZZ
@given(content=spoiled(CSV))
def test_csv(folder, content):
    rows = value_or_refusal("csv", read_image_csv, put(folder, "images.csv", content), str(folder))
    for row in rows or ():
        assert inside(f"{folder}/{row.path}", str(folder)) and row.label and row.split in ("", "train", "val", "test")


@FUZZ
@given(cells=st.lists(st.tuples(odd_text, odd_text, odd_text), max_size=4))
def test_cells_of_csv(folder, cells):
    lines = ["path,label,domain", *(",".join(f'"{cell}"' for cell in row) for row in cells)]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    rows = value_or_refusal("csv", read_image_csv, put(folder, "images.csv", content), str(folder))
    for row in rows or ():
        assert inside(f"{folder}/{row.path}", str(folder)) and row.label


@FUZZ
@given(content=spoiled(CLASS_NAMES))
def test_class_name_csv(folder, content):
    names = value_or_refusal("class name csv", read_class_names, put(folder, "names.csv", content))
    assert names is None or len(set(names.values())) == len(names)


@FUZZ
@given(labels=st.lists(st.text(alphabet="0123456789٣²a", min_size=1, max_size=3), max_size=6))
def test_label_order_is_one_for_all_orders(labels):
    assert label_order(labels) == label_order(labels[::-1]) == label_order(sorted(labels))


MEMORY = {"a.jpg": [[3, 4], "", None], "b.jpg": [[5, 6], "", 1.0, 2.0, 1.5, 0.5, 65535.0]}
MEMORY = {"format": 2, "images": MEMORY}


@FUZZ
@given(value=spoiled_json(MEMORY))
def test_what_is_remembered_of_images(folder, value):
    for name in ("a.jpg", "b.jpg"):
        put(folder, name, JPEG)
    (folder / ".mocoop").mkdir(exist_ok=True)
    put(folder, ".mocoop/images.json", json.dumps(value).encode())
    looks = value_or_refusal("memory of images", inspect_images, str(folder), ["a.jpg", "b.jpg"])
    assert looks == {"a.jpg": ImageFacts(), "b.jpg": ImageFacts()}


@FUZZ
@given(value=spoiled_json({"format": 1, "parts": {"train": {"ant": {"changed": 1, "images": ["x.jpg"]}}}}))
def test_what_is_remembered_of_class_folders(folder, value):
    (folder / "tree/train/ant").mkdir(parents=True, exist_ok=True)
    put(folder, "tree/train/ant/real.jpg", JPEG)
    index = put(folder, "index.json", json.dumps(value).encode())
    found = value_or_refusal("index", list_class_folders, str(folder / "tree"), ("train",), str(index))
    assert found == {"train": {"ant": ["real.jpg"]}}
