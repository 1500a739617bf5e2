import json
import shutil

import pytest
import torch

from mocoop import tiny as store
from mocoop.clip.openai import CLIP, clip
from mocoop.errors import CheckpointError, ConfigError
from mocoop.tiny import load

SMALL = {
    "embed_dim": 16,
    "image_resolution": 32,
    "vision_layers": 1,
    "vision_width": 64,
    "vision_patch_size": 16,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 1,
}
TOKENS = clip.tokenize(["a red circle."])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return store.build(SMALL).eval()


@pytest.fixture
def folder(tmp_path, model):
    packed = store.pack(model, sorted(set(TOKENS.flatten().tolist())))
    store.save("rn", packed, {"architecture": SMALL}, tmp_path)
    return tmp_path


def test_loaded_features_are_those_of_the_model_rounded_to_half_precision(model, folder):
    rounded = store.build(SMALL).eval()
    rounded.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    loaded, image = load("rn", folder), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for expected, got in (
            (rounded.encode_text(TOKENS), loaded.encode_text(TOKENS)),
            (rounded.encode_image(image), loaded.encode_image(image)),
        ):
            assert torch.linalg.norm(got - expected) <= 1e-7 * torch.linalg.norm(expected)


def test_tokens_that_are_not_stored_are_zero(model, folder):
    table = load("rn", folder).token_embedding.weight
    stored = TOKENS.unique()
    assert table.shape == (49408, 64)
    assert (table[stored] == model.token_embedding.weight[stored].half().float()).all()
    assert (table.abs().sum(1) > 0).sum() == len(stored)


def test_loaded_model_is_openais_frozen_in_evaluation_mode_wherever_its_files_lie(folder, tmp_path):
    before = torch.get_rng_state()
    shutil.copytree(folder, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("elsewhere"))
    loaded = load("rn", tmp_path / "elsewhere")
    assert type(loaded) is CLIP and not loaded.training and loaded.context_length == 77
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.parameters())
    assert loaded.visual.output_dim == 16
    assert (torch.get_rng_state() == before).all()  # no random number is drawn


def test_unknown_name_is_a_config_error():
    with pytest.raises(ConfigError, match="got 'huge', expected one of rn, vit"):
        load("huge")


def test_damaged_weights_are_named(folder):
    path = folder / "rn.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"rn.safetensors: got SHA-256 .* expected .* damaged"):
        load("rn", folder)


def no_readable_weights(folder, file=""):
    with pytest.raises(CheckpointError, match=f"no readable weights.*{file}"):
        load("rn", folder)


@pytest.mark.parametrize("missing", ["rn.safetensors", "rn.json"])
def test_missing_files_are_named(folder, missing):
    (folder / missing).unlink()
    no_readable_weights(folder, missing)


def test_files_that_are_neither_a_sidecar_nor_weights_are_a_checkpoint_error(folder):
    whole = json.loads((folder / "rn.json").read_text())
    for text in ("{", "[]", '{"sha256": "x"'):
        (folder / "rn.json").write_text(text)
        no_readable_weights(folder)
    (folder / "rn.safetensors").write_bytes(b"not weights")
    (folder / "rn.json").write_text(json.dumps(whole | {"sha256": store.file_sha256(folder / "rn.safetensors")}))
    no_readable_weights(folder)
