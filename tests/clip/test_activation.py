"""QuickGELU or GELU: what a CLIP's MLPs compute cannot be read off its weights."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from yacs.config import CfgNode

from mocoop.backbone import load_clip
from mocoop.clip.features import hard_features
from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.text_encoder import TextEncoder
from mocoop.errors import CheckpointError, ConfigError
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.run_state import check_clip, known_of
from tests.small_clip import small_clip


def config(name, activation):
    return CfgNode({"MODEL": {"BACKBONE": {"NAME": str(name), "ACTIVATION": activation}}})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "clip.safetensors"
    save_file({name: value.contiguous() for name, value in small_clip().state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    "activation, expected", [("auto", "quick_gelu"), ("quick_gelu", "quick_gelu"), ("gelu", "gelu")]
)
def test_the_key_decides_and_auto_says_what_it_assumes(weights, caplog, activation, expected):
    with caplog.at_level(logging.WARNING):
        model = load_clip(config(weights, activation))
    assert model.activation == ("gelu" if activation == "gelu" else "quick_gelu")
    warned = [record.getMessage() for record in caplog.records]
    assert bool(warned) == (activation == "auto")
    assert all("QuickGELU is assumed" in line and "ACTIVATION gelu" in line for line in warned)


def test_both_encoders_compute_with_it(weights):
    quick, exact = (load_clip(config(weights, name)) for name in ("quick_gelu", "gelu"))
    size = exact.visual.input_resolution
    image = torch.randn(2, 3, size, size)
    for module in exact.modules():
        if hasattr(module, "gelu"):
            assert type(module.gelu) is nn.GELU
    reference = exact.encode_image(image)
    assert torch.allclose(ImageEncoder(exact)(image), reference, atol=1e-5)
    assert not torch.allclose(quick.encode_image(image), reference, atol=1e-3)


def test_cached_features_of_one_are_not_taken_for_the_other(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    models = [load_clip(config(weights, name)) for name in ("quick_gelu", "gelu")]
    quick, exact = (hard_features(TextEncoder(model), ["a {}."], ["cat", "dog"]) for model in models)
    assert not torch.allclose(quick, exact, atol=1e-3)


def test_an_unknown_activation_is_one_line(weights):
    with pytest.raises(ConfigError, match="ACTIVATION is 'relu', expected one of auto, quick_gelu, gelu"):
        load_clip(config(weights, "relu"))


def test_openais_own_names_are_taken_as_they_are(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_clip(config("tiny-vit", "auto")).activation == "quick_gelu"
    assert not caplog.records


def test_what_was_trained_with_one_is_not_tested_with_the_other(trained_runs):
    path = trained_runs.of("coop") / "prompt_learner/model.pth.tar-1"
    checkpoint = load_checkpoint(path)
    assert checkpoint["method"]["activation"] == "quick_gelu"
    checkpoint["method"]["activation"] = "gelu"
    cfg = config("tiny", "auto")
    with pytest.raises(CheckpointError, match="was trained with MODEL.BACKBONE.ACTIVATION .gelu., got quick_gelu"):
        check_clip(cfg, load_clip(cfg), known_of(checkpoint, path), path)
