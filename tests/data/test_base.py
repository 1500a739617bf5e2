import json
import random
import shutil

import pytest

from mocoop.data.base import BenchmarkDataset
from mocoop.data.exchange import pickled_subset
from mocoop.data.lists import read_manifest
from mocoop.errors import DataError
from mocoop.files import file_sha256
from tests.data.toy import CLASSES, ToySet, identity, make_cfg, make_tree


@pytest.fixture
def root(tmp_path):
    return make_tree(tmp_path / "data")


def everything(dataset):
    return [identity(items) for items in (dataset.train_x, dataset.val, dataset.test)]


def test_raw_folders_give_a_split_file_that_gives_the_same_again(root):
    first = ToySet(make_cfg(root))
    split = json.loads((root / "toy/split_zhou_ToySet.json").read_text())
    assert [len(split[part]) for part in ("train", "val", "test")] == [50, 20, 30]
    assert everything(ToySet(make_cfg(root, seed=9))) == everything(first)
    assert first.classnames == first.all_classnames == list(CLASSES)
    assert first.num_classes == 5 and first.lab2cname[4] == "elk"
    few = ToySet(make_cfg(root, shots=8, seed=2))
    manifest = root / "toy/split_fewshot/shot_8-seed_2.jsonl"  # stored with the hash of its file
    records = read_manifest(manifest)
    assert [len(records["train"]), len(records["val"])] == [8 * 5, 4 * 5] == [len(few.train_x), len(few.val)]
    assert few.manifest_sha256 == file_sha256(manifest) and len(few.test) == 30


def test_the_subset_depends_neither_on_numbers_drawn_before_nor_on_the_place(root):
    first = ToySet(make_cfg(root, shots=4))
    shutil.rmtree(root / "toy/split_fewshot")
    random.seed(123)
    random.random()
    second = ToySet(make_cfg(root, shots=4))
    assert everything(second) == everything(first) and second.manifest_sha256 == first.manifest_sha256
    moved = root.rename(root.parent / "elsewhere")
    second = ToySet(make_cfg(moved, shots=4))
    assert second.manifest_sha256 == first.manifest_sha256
    assert second.train_x[0].impath == first.train_x[0].impath.replace(str(root), str(moved))


@pytest.mark.parametrize("classes, names", [("base", ["ant", "bee", "cat"]), ("new", ["dog", "elk"])])
def test_base_and_new(root, classes, names):
    whole = ToySet(make_cfg(root, shots=2))
    half = ToySet(make_cfg(root, shots=2, classes=classes))
    assert half.classnames == names and half.all_classnames == list(CLASSES)
    assert half.manifest_sha256 == whole.manifest_sha256
    paths = {item.impath for item in half.train_x}
    assert [i.impath for i in whole.train_x if i.classname in names] == [i.impath for i in half.train_x] and paths


def test_coops_pickled_subset_is_taken_over(root):
    whole = ToySet(make_cfg(root))
    train, val = whole.train_x[3::4], whole.val[:2]
    (root / "toy/split_fewshot").mkdir()
    moved = ([Relocated(item, str(root)) for item in items] for items in (train, val))
    (root / "toy/split_fewshot/shot_2-seed_1.pkl").write_bytes(pickled_subset(*moved))
    dataset = ToySet(make_cfg(root, shots=2))
    assert everything(dataset)[:2] == [identity(train), identity(val)]
    assert (root / "toy/split_fewshot/shot_2-seed_1.jsonl").exists()


class Relocated:
    """An item as another machine's pickle has it."""

    def __init__(self, item, root):
        self.impath, self.label = item.impath.replace(root, "/home/someone/DATA"), item.label
        self.classname, self.domain = item.classname, item.domain


def test_a_subset_of_another_split_is_refused(root):
    ToySet(make_cfg(root, shots=2))
    (root / "toy/split_zhou_ToySet.json").unlink()
    ToySet(make_cfg(root, seed=7))
    with pytest.raises(DataError, match="shot_2-seed_1.jsonl.*another split"):
        ToySet(make_cfg(root, shots=2))


def test_a_subset_without_an_image_of_a_class_is_refused(root):
    manifest = root / "toy/split_fewshot/shot_2-seed_1.jsonl"
    ToySet(make_cfg(root, shots=2))
    lines = manifest.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"train"' not in line or not {"bee", "elk"} & set(line.split('"'))]
    manifest.write_text("".join(kept))
    for classes in ("all", "base", "new"):
        with pytest.raises(DataError, match="shot_2-seed_1.jsonl: got no training image of 'bee', 'elk', expected"):
            ToySet(make_cfg(root, shots=2, classes=classes))


def test_without_a_seed_nothing_is_stored_and_what_cannot_be_stored_is_used_all_the_same(root, caplog):
    ToySet(make_cfg(root))
    drawn = {tuple(i.impath for i in ToySet(make_cfg(root, shots=1, seed=-1)).train_x) for _ in range(5)}
    assert len(drawn) > 1
    assert not (root / "toy/split_fewshot").exists()
    (root / "toy/split_fewshot").write_text("a file where the folder should be")
    assert len(ToySet(make_cfg(root, shots=1)).train_x) == 5
    assert "not stored" in caplog.text


@pytest.mark.parametrize(
    "given, named",
    [
        ("", "no data root"),
        ("missing", "missing does not exist"),
        ("empty", "empty/toy does not exist"),
        ("half", "half/toy/images does not exist"),
    ],
)
def test_what_is_missing_is_one_line_with_the_next_step(tmp_path, given, named):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half/toy").mkdir(parents=True)
    with pytest.raises(DataError, match=named) as caught:
        ToySet(make_cfg(given and tmp_path / given))
    message = str(caught.value)
    assert message.startswith("ToySet: ") and "\n" not in message and "--root" in message
    if given:
        assert "mocoop datasets prepare ToySet" in message and "split_zhou_ToySet.json" in message


def test_a_missing_annotation_file_is_named(tmp_path):
    class Annotated(ToySet):
        raw_files = ("labels.txt",)

    with pytest.raises(DataError, match="toy/labels.txt does not exist, expected it or split_zhou_ToySet.json"):
        Annotated(make_cfg(make_tree(tmp_path)))


def test_domains_are_kept_through_subset_and_classes(root):
    class Styled(ToySet):
        def read_domains(self):
            return {f"{name}/{n:03d}.jpg": ("sketch" if n % 2 else "photo") for name in CLASSES for n in range(20)}

    dataset = Styled(make_cfg(root, shots=8, classes="new"))
    assert dataset.domains == ["photo", "sketch"]
    for item in dataset.train_x + dataset.val + dataset.test:
        assert item.domain == int(item.impath[-7:-4]) % 2
    again = Styled(make_cfg(root, shots=8, classes="new"))
    assert everything(again) == everything(dataset)


def test_the_test_images_validate_where_there_are_no_others_and_a_test_only_set_draws_nothing(root):
    class TestOnly(ToySet):
        test_only = True

    dataset = TestOnly(make_cfg(root, shots=2))
    assert isinstance(dataset, BenchmarkDataset)
    assert identity(dataset.train_x) == identity(dataset.test) and dataset.val is None
    assert not (root / "toy/split_fewshot").exists()

    class NoVal(ToySet):
        split_file = ""

        def read_raw(self):
            return super().read_raw()._replace(val=None)

    dataset = NoVal(make_cfg(root, shots=2))
    assert identity(dataset.val) == identity(dataset.test)
    assert read_manifest(root / "toy/split_fewshot/shot_2-seed_1.jsonl")["val"] == []
