"""Registries, and what a dataset is."""

import pytest
from yacs.config import CfgNode

from mocoop.engine.lite.registry import DatasetBase, Datum, Registry
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image


def test_register_as_decorator_and_as_call():
    registry = Registry("PLANT")

    @registry.register()
    class Oak:
        pass

    class Elm:
        pass

    registry.register(Elm)
    assert registry.get("Oak") is Oak and registry.get("Elm") is Elm
    assert registry.registered_names() == ["Oak", "Elm"]


def test_a_name_is_taken_once_unless_forced():
    registry = Registry("PLANT")
    first, second = type("Oak", (), {}), type("Oak", (), {})
    registry.register(first)
    with pytest.raises(KeyError, match='"Oak" is already registered in PLANT'):
        registry.register(second)
    registry.register(second, force=True)
    assert registry.get("Oak") is second


def test_unknown_names():
    with pytest.raises(KeyError, match='got "Oak", expected a name registered in PLANT'):
        Registry("PLANT").get("Oak")
    registry = Registry("PLANT")
    registry.register(type("Birch", (), {"__init__": lambda self, cfg: None}))
    cfg = CfgNode({"VERBOSE": False})
    with pytest.raises(ConfigError, match=r'PLANT.NAME: got "Brch", expected one of .*did you mean "Birch"'):
        registry.build("PLANT.NAME", "Brch", cfg)
    assert type(registry.build("PLANT.NAME", "Birch", cfg)).__name__ == "Birch"


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
