"""The shipped weights do what their sidecar says."""

import json

import pytest
import torch

from mocoop.clip.openai import CLIP
from mocoop.shapes.sets import DATA_VERSION, SETS, STYLE_MIX
from mocoop.shapes.vocabulary import classnames
from mocoop.tiny import FOLDER, NAMES, load, trained_tokens, untrained_words
from scripts.pretrain_tiny import base_new_h, every_caption


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    """Name, model and sidecar."""
    return request.param, load(request.param), json.loads((FOLDER / f"{request.param}.json").read_text())


def test_model_is_openais_for_images_of_64_pixels_small_and_with_its_recipe_on_record(shipped):
    name, model, sidecar = shipped
    assert type(model) is CLIP and model.visual.input_resolution == 64
    assert model.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, sidecar["architecture"]["embed_dim"])
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 5e6
    assert sidecar["name"] == name and len(sidecar["sha256"]) == 64
    assert {"steps", "batch", "lr", "seed"} <= sidecar["recipe"].keys()
    assert {"torch", "seconds"} <= sidecar["trained_with"].keys()


def test_zero_shot_accuracy_on_held_out_combinations_is_that_of_the_sidecar(shipped):
    _, model, sidecar = shipped
    assert sidecar["data_version"] == DATA_VERSION
    found = base_new_h(model, SETS["ShapesBoth"], STYLE_MIX, None, per_class=5)
    for part, percent in found.items():
        assert percent > 50  # chance is 2.5
        assert percent == pytest.approx(sidecar["zero_shot"]["ShapesBoth"]["neutral"][part], abs=10)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_name_is_known_and_words_that_pretraining_never_used_are_told(name):
    for split in ("color", "shape", "both"):
        assert untrained_words(name, classnames(split)) == []
    words = ["golden_retriever", "red circle", "retriever", "a striped cat"]
    assert untrained_words(name, words) == ["golden", "retriever", "cat"]
    assert untrained_words(name, every_caption()) == []
    assert untrained_words(name, ["an oil painting on canvas"]) == ["oil", "painting", "canvas"]
    assert 50 < len(trained_tokens(name)) < 200
