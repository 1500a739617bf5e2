"""open_clip's models as backbones, against open_clip's own passes."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from yacs.config import CfgNode

from mocoop.backbone import load_clip
from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.prompts import Context, PromptLayout, hard_prompts
from mocoop.clip.text_encoder import TextEncoder
from mocoop.clip.tower_parts import Rows, TowerParts
from mocoop.errors import CheckpointError, ConfigError
from tests.small_clip import small_clip
from tests.small_open_clip import MODELS, Small, open_clip

NAMES = ["cat", "red dog", "photo of a dog", "of"]
FAST_TEXT = {"gelu", "quick_gelu", "scaled", "resnet", "timm"}
FAST_IMAGE = {"gelu", "quick_gelu", "scaled", "bert"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("open_clip"))


def load(name: str, activation: str = "auto"):
    return load_clip(CfgNode({"MODEL": {"BACKBONE": {"NAME": name, "ACTIVATION": activation}}}))


def relative(a, b) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", list(MODELS))
def test_features_are_open_clips_own(small, name):
    backbone, theirs, tokenize = copy.deepcopy(small.backbone(name)).double(), small.own(name), small.tokenizer(name)
    texts = [f"a photo of a {word}." for word in NAMES]
    layout, tokens = hard_prompts(texts, backbone.tokenizer), tokenize(texts)
    assert torch.equal(layout.tokens, tokens[:, : layout.tokens.shape[1]])
    image = torch.randn(2, 3, *backbone.preprocessing.size, dtype=torch.float64)
    text, features = theirs.encode_text(tokens, normalize=False), theirs.encode_image(image, normalize=False)
    assert (backbone.opaque_text is None) == (name in FAST_TEXT)
    assert (backbone.opaque_image is None) == (name in FAST_IMAGE)
    for kind in ("fast", "plain"):
        assert relative(TextEncoder(backbone, kind)([None], [layout])[0], text) < 1e-9
        assert relative(ImageEncoder(backbone, kind)(image), features) < 1e-9
    assert backbone.embed_dim == features.shape[1] and backbone.text_width == 32


@pytest.mark.parametrize("name", list(MODELS))
def test_learned_prompts_are_put_in_at_the_embedding(small, name):
    """A context that starts from words gives the sentence's own feature, and fast gradients are the plain ones."""
    backbone, theirs, tokenize = copy.deepcopy(small.backbone(name)).double(), small.own(name), small.tokenizer(name)
    words = "a photo of"
    embedded = backbone.token_embedding(torch.tensor(backbone.tokenizer.encode(words))).detach()
    layout = PromptLayout([[Context(0, len(embedded)), f"a {word}"] for word in NAMES], NAMES, backbone.tokenizer)
    own = theirs.encode_text(tokenize([f"{words} a {word}" for word in NAMES]), normalize=False)
    grads = []
    for kind in ("fast", "plain"):
        ctx = embedded.clone().requires_grad_()
        features = TextEncoder(backbone, kind, chunk=3)([ctx], [layout])[0]
        assert relative(features, own) < 1e-9
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        grads.append(ctx.grad)
    assert grads[0].abs().sum() > 0 and relative(*grads) < 1e-9


@pytest.mark.parametrize("name", sorted(FAST_TEXT & FAST_IMAGE))
def test_parts_in_both_towers_are_the_same_fast_and_plain(small, name):
    backbone = copy.deepcopy(small.backbone(name)).double()
    layout = hard_prompts([f"a photo of a {word}." for word in NAMES], backbone.tokenizer)
    parts = TowerParts(rows={1: Rows(torch.randn(2, 32, dtype=torch.float64))})
    fast, plain = (TextEncoder(backbone, kind)([None], [layout], parts) for kind in ("fast", "plain"))
    assert relative(fast, plain) < 1e-9
    tokens = torch.randn(2, 64, dtype=torch.float64)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    fast, plain = (ImageEncoder(backbone, kind)(image, TowerParts(tokens=tokens)) for kind in ("fast", "plain"))
    assert relative(fast, plain) < 1e-9


@pytest.mark.parametrize("name, tower", [("siglip", "without a causal mask"), ("bert", "bert of transformers")])
def test_what_a_tower_cannot_take_is_one_line(small, name, tower):
    backbone = small.backbone(name)
    layout = hard_prompts(["a cat"], backbone.tokenizer)
    with pytest.raises(ConfigError, match=f"takes prompts at its input alone: it is a?.*{tower}"):
        TextEncoder(backbone)([None], [layout], TowerParts(rows={1: Rows(torch.zeros(2, 32))}))
    with pytest.raises(ConfigError, match="made of tokens of CLIP, expected those of this backbone"):
        TextEncoder(backbone)([None], [hard_prompts(["a cat"])])


def test_image_parts_need_a_vision_transformer(small):
    backbone = small.backbone("timm")
    with pytest.raises(ConfigError, match="is timm's test_vit, expected a vision transformer"):
        ImageEncoder(backbone)(torch.zeros(1, 3, 160, 160), TowerParts(tokens=torch.zeros(1, 64)))


def test_half_precision_is_computed_in_it(small):
    backbone = copy.deepcopy(small.backbone("gelu"))
    layout = hard_prompts([f"a {word}" for word in NAMES], backbone.tokenizer)
    expected = TextEncoder(backbone)([None], [layout])
    backbone.halve()
    assert backbone.dtype == torch.float16 and backbone.ln_final.weight.dtype == torch.float32
    halved = TextEncoder(backbone)([None], [layout])
    assert halved.dtype == torch.float16 and relative(halved.float(), expected) < 1e-2


# --- by name ----------------------------------------------------------------------------------------------------------


def openai_weights(tmp_path):
    """A file with OpenAI's names, as LAION's are, of the shapes of open_clip's smallest model made smaller."""
    path = tmp_path / "laion.safetensors"
    save_file({name: value.contiguous() for name, value in small_clip().state_dict().items()}, path)
    return path


@pytest.fixture
def small_config(tmp_path, monkeypatch):
    """A model that open_clip knows by name, `Small-B-16`, of the shapes of `small_clip`."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 3}
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    for name, quick in (("Small-B-16", False), ("Small-B-16-quickgelu", True)):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config | {"quick_gelu": quick})


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_weights_with_openais_names_compute_the_same_by_name_and_by_file(tmp_path, small_config, activation):
    path = openai_weights(tmp_path)
    model = "Small-B-16" + ("-quickgelu" if activation == "quick_gelu" else "")
    by_name, by_file = load(f"open_clip:{model}/{path}"), load(str(path), activation)
    forced = load(f"open_clip:Small-B-16/{path}", activation)
    assert by_name.activation == by_file.activation == forced.activation == activation
    tokens, image = hard_prompts(["a cat", "a dog"]).tokens, torch.randn(2, 3, 32, 32)
    for other in (by_file, forced):
        assert torch.allclose(by_name.encode_text(tokens), other.encode_text(tokens), atol=1e-5)
        assert torch.allclose(by_name.visual(image), other.visual(image), atol=1e-5)


@pytest.mark.parametrize(
    "name, said",
    [
        ("open_clip:ViT-B-23/openai", "open_clip has no such model, but ViT-B-"),
        ("open_clip:ViT-B-32", "expected open_clip:ViT-B-32/ and a file, or one of openai, laion400m_e31"),
        ("open_clip:ViT-B-32/no_such", "expected open_clip:ViT-B-32/ and a file, or one of openai"),
    ],
)
def test_an_unknown_name_is_one_line(name, said):
    with pytest.raises(ConfigError, match=said):
        load(name)


def test_weights_of_a_tag_are_not_computed_with_another_activation():
    with pytest.raises(ConfigError, match="openai of ViT-B-32 was trained with quick_gelu: set .* quick_gelu"):
        load("open_clip:ViT-B-32/openai")
    with pytest.raises(ConfigError, match="laion2b_s34b_b79k of ViT-B-32 was trained with gelu"):
        load("open_clip:ViT-B-32/laion2b_s34b_b79k", "quick_gelu")


def test_weights_that_do_not_fit_are_refused(tmp_path, small_config):
    state = load_file(openai_weights(tmp_path))
    spoiled = {"nan": state | {"ln_final.bias": torch.full((64,), float("nan"))}, "part": dict(list(state.items())[5:])}
    for kind, tensors in spoiled.items():
        save_file(tensors, tmp_path / f"{kind}.safetensors")
        with pytest.raises(CheckpointError, match=f"cannot load open_clip:Small-B-16/.*{kind}.safetensors: "):
            load(f"open_clip:Small-B-16/{tmp_path}/{kind}.safetensors")
    with pytest.raises(CheckpointError, match="cannot load open_clip:local-dir:"):
        load(f"open_clip:local-dir:{tmp_path}/nowhere")


def test_a_text_tower_that_is_not_at_hand_is_not_fetched_for_local_weights(small, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    config = json.loads((small.folder("bert") / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "nobody/has-this-text-tower"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").symlink_to(small.folder("bert") / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="what is not in the hub's cache is not fetched for local weights"):
        load(f"open_clip:local-dir:{folder}")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "open_clip" else find(name))
    with pytest.raises(ConfigError, match="needs a package: pip install open_clip_torch"):
        load("open_clip:ViT-B-32/openai")


def test_images_are_prepared_as_the_model_says(small):
    assert small.backbone("siglip").preprocessing.mean == (0.5, 0.5, 0.5)
    assert small.backbone("gelu").preprocessing.size == (32, 32)


def test_the_model_is_frozen_and_in_evaluation_mode(small):
    for name in MODELS:
        backbone = small.backbone(name)
        assert not any(isinstance(m, nn.Dropout) and m.training for m in backbone.modules())
        assert not backbone.training and not any(p.requires_grad for p in backbone.parameters())
