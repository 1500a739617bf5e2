"""The fifteen datasets on tiny trees in their raw layout, and on the split files these give."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

import datasets  # noqa: F401  (registers them)
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError
from tests.data.toy import make_cfg
from tests.datasets.trees import TREES, make_imagenetv2

# SHA-256 of what CoOp's own loaders, run on real Dassl over these same trees with os.listdir sorted and Python's random
# numbers seeded like train.py does, give: train, val, test (path, label, class name, domain; in order) and class names.
COOP = json.loads(Path(__file__).with_name("coop_digests.json").read_text())


def build(name, root, **settings):
    return DATASET_REGISTRY.get(name)(make_cfg(root, **settings))


def contents(dataset, root) -> list:
    parts = (dataset.train_x, dataset.val, dataset.test)
    rows = [
        part and [[os.path.relpath(i.impath, root), i.label, i.classname, i.domain] for i in part] for part in parts
    ]
    return [*rows, dataset.classnames]


def digest(content) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def forget_split(root):
    for path in root.glob("*/split_zhou_*.json"):
        path.unlink()


@pytest.mark.parametrize("name", TREES)
def test_split_file_form(name, tmp_path):
    """What the first start wrote, if anything, is enough: the annotations may go, the images may be anywhere."""
    TREES[name](tmp_path / "data")
    raw = contents(build(name, tmp_path / "data"), tmp_path / "data")
    moved = shutil.move(tmp_path / "data", tmp_path / "moved")
    dataset_class = DATASET_REGISTRY.get(name)
    if dataset_class.split_file:
        for annotation in dataset_class.raw_files:
            (moved / dataset_class.dataset_dir / annotation).unlink()
    assert contents(build(name, moved, seed=5), moved) == raw


@pytest.mark.parametrize("name", TREES)
def test_equals_coop_item_for_item(name, tmp_path):
    if name == "ImageNetV2":  # CoOp's loader takes no fewer than 1,000 classes
        make_imagenetv2(tmp_path, {f"n{i:08d}": f"class {i}" for i in range(1000)})
    else:
        TREES[name](tmp_path)
    raw = []
    for seed in (3, 2, 1):
        forget_split(tmp_path)
        raw.insert(0, contents(build(name, tmp_path, seed=seed), tmp_path))
        assert all((tmp_path / path).is_file() for part in raw[0][:3] if part for path, *_ in part)
    assert digest(raw) == COOP[name]["raw"]
    few = [
        contents(build(name, tmp_path, seed=seed, shots=shots), tmp_path)
        for shots in (1, 2, 4, 8, 16)
        for seed in (1, 2, 3)
    ]
    assert digest(few) == COOP[name]["few_shot"]
    for half in COOP[name].keys() & {"base", "new"}:
        assert digest(contents(build(name, tmp_path, seed=1, shots=16, classes=half), tmp_path)) == COOP[name][half]


def test_imagenet_needs_the_same_classes_in_train_and_val_and_imagenetv2_a_folder_for_each(tmp_path):
    TREES["ImageNet"](tmp_path)
    shutil.rmtree(tmp_path / "imagenet/images/val/n01484850")
    with pytest.raises(DataError, match="5 class folders in train and 4 in val.*n01484850"):
        build("ImageNet", tmp_path)
    TREES["ImageNetV2"](tmp_path)
    shutil.rmtree(tmp_path / "imagenetv2/imagenetv2-matched-frequency-format-val/3")
    with pytest.raises(DataError, match="/3 does not exist.*'stingray'"):
        build("ImageNetV2", tmp_path)


@pytest.mark.parametrize("name", ["ImageNet", "ImageNetA"])
def test_a_folder_without_a_class_name_is_named(name, tmp_path):
    TREES[name](tmp_path)
    dataset_class = DATASET_REGISTRY.get(name)
    names = tmp_path / dataset_class.dataset_dir / "classnames.txt"
    names.write_text("n01440764 tench\n")
    with pytest.raises(DataError, match="classnames.txt: no class name for the folder n01443537"):
        build(name, tmp_path)


@pytest.mark.parametrize(
    "name, path, content, message",
    [
        ("OxfordPets", "oxford_pets/annotations/test.txt", "Abyssinian_1 one 1 1\n", "test.txt, line 1: got 'Abyss"),
        (
            "FGVCAircraft",
            "fgvc_aircraft/images_variant_val.txt",
            "0000001 Concorde\n",
            "variant_val.txt, line 1: .*Conc",
        ),
        ("SUN397", "sun397/Training_01.txt", "/z/zoo/x.jpg\n", "Training_01.txt, line 1"),
        ("UCF101", "ucf101/ucfTrainTestlist/classInd.txt", "ApplyEyeMakeup\n", "classInd.txt, line 1"),
        ("StanfordCars", "stanford_cars/devkit/cars_meta.mat", "not a mat file", "cars_meta.mat: got no readable .mat"),
        ("OxfordFlowers", "oxford_flowers/imagelabels.mat", "", "imagelabels.mat: got no readable .mat"),
        ("OxfordFlowers", "oxford_flowers/cat_to_name.json", '{"1": "rose"}', "cat_to_name.json: no name for label 3"),
        ("ImageNet", "imagenet/classnames.txt", "n01440764\n", "classnames.txt, line 1"),
    ],
)
def test_damaged_annotations_are_named(name, path, content, message, tmp_path):
    TREES[name](tmp_path)
    (tmp_path / path).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        build(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_data_is_one_line_that_says_what_to_do_and_every_dataset_has_a_config_that_opens_with_its_command(tmp_path):
    for name in TREES:
        with pytest.raises(DataError, match=f"^{name}: .*`mocoop datasets prepare {name} --root ") as caught:
            build(name, tmp_path)
        assert "\n" not in str(caught.value) and DATASET_REGISTRY.get(name).dataset_dir in str(caught.value)
    named = set()
    for path in Path("configs/datasets").glob("*.yaml"):
        text = path.read_text()
        assert text.startswith(("# bash scripts/", "# python train.py ")), path
        named.add(text.split('NAME: "')[1].split('"')[0] if 'NAME: "' in text else "")
    assert set(TREES) <= named
