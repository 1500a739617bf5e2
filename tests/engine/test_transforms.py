import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from mocoop.engine.lite.config import get_cfg_default
from mocoop.engine.lite.data import ON_IMAGE, ON_TENSOR, build_transform
from mocoop.errors import ConfigError
from mocoop.training.run_state import set_random_seed


@pytest.fixture
def cfg():
    cfg = get_cfg_default()
    cfg.INPUT.SIZE = (32, 24)
    cfg.INPUT.INTERPOLATION = "bicubic"
    return cfg


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8))


@pytest.mark.parametrize("choice", [*ON_IMAGE, *ON_TENSOR])
def test_every_training_transform_gives_a_tensor_of_the_right_size(cfg, image, choice):
    set_random_seed(0)
    for _ in range(5):
        output = build_transform(cfg, choices=[choice])(image)
        assert output.shape == (3, 32, 24) and output.dtype == torch.float32
        assert torch.isfinite(output).all()


def test_the_test_pipeline_is_resize_crop_and_normalisation(cfg, image):
    transform = build_transform(cfg, is_train=False, choices=["random_resized_crop", "random_flip", "normalize"])
    resized = F.resize(image, 32, interpolation=F.InterpolationMode.BICUBIC)
    expected = F.normalize(F.to_tensor(F.center_crop(resized, (32, 24))), cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    assert torch.equal(transform(image), expected)


def test_the_log_says_what_is_done(cfg, capsys):
    build_transform(cfg, choices=["normalize", "random_flip"])
    build_transform(cfg, is_train=False, choices=["random_flip", "center_crop"])
    assert capsys.readouterr().out.splitlines() == [
        "Building transform_train",
        "+ resize to 32x24",
        "+ random flip",
        "+ to torch tensor of range [0, 1]",
        "+ normalization (mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])",
        "Building transform_test",
        "+ resize the smaller edge to 32",
        "+ 32x24 center crop",
        "+ to torch tensor of range [0, 1]",
    ]


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("TRANSFORMS", ("flip", "normalize"), r"INPUT.TRANSFORMS: got \['flip'\], expected names among"),
        ("INTERPOLATION", "lanczos", 'INPUT.INTERPOLATION: got "lanczos", expected one of bilinear'),
        ("SIZE", (32, 0), r"INPUT.SIZE: got \(32, 0\), expected \(height, width\)"),
        ("SIZE", (32,), "INPUT.SIZE: got"),
        ("NO_TRANSFORM", True, "INPUT.NO_TRANSFORM: got True, expected False"),
    ],
)
def test_wrong_settings(cfg, key, value, message):
    cfg.INPUT[key] = value
    with pytest.raises(ConfigError, match=message):
        build_transform(cfg, is_train=False)


def test_magnitude_is_checked_where_it_is_used(cfg):
    cfg.INPUT.RANDAUGMENT_M = 31
    build_transform(cfg, choices=["random_flip"])
    with pytest.raises(ConfigError, match="RANDAUGMENT_M: got 31, expected 0 to 30"):
        build_transform(cfg, choices=["randaugment"])
