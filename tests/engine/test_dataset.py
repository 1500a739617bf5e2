import random

import pytest

from mocoop.engine.lite.dataset import DatasetBase, Datum
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image


@pytest.fixture
def items(image_root):
    """Labels 2, 2, 2, 0, 0, 5, domains 0 and 1 in turn."""
    path = str(image_root / "train" / "red_0.png")
    labels = [2, 2, 2, 0, 0, 5]
    return [Datum(path, label, i % 2, f"class {label}") for i, label in enumerate(labels)]


def test_datum_is_read_only_and_needs_its_file(items):
    assert (items[0].label, items[0].domain, items[0].classname) == (2, 0, "class 2")
    with pytest.raises(AttributeError):
        items[0].label = 3
    with pytest.raises(DataError, match='no image file "missing.png"'):
        Datum("missing.png")
    with pytest.raises(TypeError, match="got int, expected str"):
        Datum(3)


def test_classes_come_in_label_order(items):
    dataset = DatasetBase(train_x=items, test=items[:1])
    assert dataset.num_classes == 6
    assert dataset.classnames == ["class 0", "class 2", "class 5"]
    assert list(dataset.lab2cname) == [0, 2, 5]
    assert dataset.val is None and dataset.test == items[:1]
    with pytest.raises(AttributeError):
        dataset.train_x = []


def test_a_training_split_is_needed():
    with pytest.raises(DataError, match="the training split is empty"):
        DatasetBase(train_x=[])


def test_few_shots_draw_by_class_in_order_of_appearance(items):
    dataset = DatasetBase(train_x=items)
    random.seed(4)
    chosen = dataset.generate_fewshot_dataset(items, num_shots=2)
    random.seed(4)
    assert chosen == random.sample(items[:3], 2) + random.sample(items[3:5], 2) + items[5:]
    repeated = dataset.generate_fewshot_dataset(items, num_shots=2, repeat=True)
    assert [item.label for item in repeated] == [2, 2, 0, 0, 5, 5]
    assert dataset.generate_fewshot_dataset(items) is items
    assert [len(part) for part in dataset.generate_fewshot_dataset(items, items, num_shots=1)] == [3, 3]


def test_splitting(items):
    dataset = DatasetBase(train_x=items)
    assert {k: len(v) for k, v in dataset.split_dataset_by_label(items).items()} == {2: 3, 0: 2, 5: 1}
    assert {k: len(v) for k, v in dataset.split_dataset_by_domain(items).items()} == {0: 3, 1: 3}


def test_domains_are_checked(items):
    dataset = DatasetBase(train_x=items)
    dataset.domains = ["photo", "sketch"]
    dataset.check_input_domains(["photo"], ["sketch"])
    with pytest.raises(ConfigError, match='got domain "art", expected one of'):
        dataset.check_input_domains(["photo"], ["art"])
    with pytest.raises(ConfigError, match="DATASET.TARGET_DOMAINS: got none"):
        dataset.check_input_domains(["photo"], [])


def test_images_are_read_as_rgb(tmp_path, image_root):
    from PIL import Image

    Image.new("LA", (3, 2), (7, 100)).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (7, 7, 7))


def test_unreadable_images_are_named(tmp_path, image_root):
    with pytest.raises(DataError, match='no image file ".*gone.png"'):
        read_image(tmp_path / "gone.png")
    whole = (image_root / "train" / "red_0.png").read_bytes()
    for name, content in {"text.png": b"hello", "empty.jpg": b"", "half.png": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f'cannot read image ".*{name}": .*; restore it') as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
