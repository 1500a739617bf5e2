"""CLIPs of transformers, by names: their logits are those of transformers' own forward pass."""

import json

import pytest
import torch
from yacs.config import CfgNode

from mocoop.backbone import check_input, clip_sha256, load_clip
from mocoop.clip.hugging_face import described, open_clip_model
from mocoop.clip.openai import CLIP
from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import build_method, extend_cfg
from tests import small_open_clip

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TEXTS = ["a photo of a cat.", "a photo of a red oak tree.", "texture"]
SIZES = {"num_hidden_layers": 2, "intermediate_size": 512}
NARROW = {**SIZES, "hidden_size": 128, "num_attention_heads": 2}
CLOSE = 1e-4


def config(path, activation="auto"):
    return CfgNode({"MODEL": {"BACKBONE": {"NAME": str(path), "ACTIVATION": activation}}})


def contrasted(model):
    """With enough contrast that features of different inputs differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.1)
        model.logit_scale.fill_(3.0)
        if hasattr(model, "logit_bias"):
            model.logit_bias.fill_(-1.0)
    return model.eval()


def clip_of(activation="quick_gelu", vision=(), **text):
    torch.manual_seed(0)
    act = {"hidden_act": activation}
    towers = {"image_size": 32, "patch_size": 16} | NARROW | act | dict(vision)
    made = transformers.CLIPConfig(text_config=NARROW | act | text, vision_config=towers, projection_dim=64)
    return contrasted(transformers.CLIPModel(made))


def logits_of(model, tokens, images):
    with torch.no_grad():
        return model(input_ids=tokens, pixel_values=images).logits_per_image


def logits(loaded, tokens, images):
    features = (loaded.encode_text(tokens), loaded.visual(images))
    text, image = (torch.nn.functional.normalize(each, dim=-1) for each in features)
    bias = 0.0 if loaded.logit_bias is None else loaded.logit_bias
    return loaded.logit_scale.exp() * image @ text.T + bias


def tokens_of(loaded):
    tokenizer, rows = loaded.tokenizer, []
    for text in TEXTS:
        row = [*tokenizer.before, *tokenizer.encode(text), *tokenizer.after]
        rows.append(row + [tokenizer.pad] * (tokenizer.length - len(row)))
    return torch.tensor(rows)


def same_logits(folder, model, size=32):
    loaded = load_clip(config(folder))
    tokens, images = tokens_of(loaded), torch.randn(4, 3, size, size)
    ours, theirs = logits(loaded, tokens, images), logits_of(model, tokens, images)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < CLOSE
    return loaded


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a CLIP, which other folders may be made from."""
    folder = tmp_path_factory.mktemp("clip")
    clip_of().save_pretrained(folder)
    return folder


def linked(folder, saved):
    """The files of a folder in another one."""
    for path in saved.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_gives_transformers_logits(tmp_path, activation):
    model = clip_of(activation)
    model.save_pretrained(tmp_path)
    loaded = same_logits(tmp_path, model)
    assert type(loaded) is CLIP and loaded.activation == activation
    other = {"quick_gelu": "gelu", "gelu": "quick_gelu"}[activation]
    with pytest.raises(ConfigError, match=f"was trained with {activation}, got MODEL.BACKBONE.ACTIVATION {other}"):
        load_clip(config(tmp_path, other))


def test_shards_bins_and_wrapped_files_are_the_same_clip(tmp_path):
    model = clip_of()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="10MB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/config.json").write_text((tmp_path / "whole/config.json").read_text())
    torch.save(model.state_dict(), tmp_path / "bin/pytorch_model.bin")
    (tmp_path / "file").mkdir()
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "file/x.pt")
    places = [tmp_path / name for name in ("whole", "parts", "bin", "bin/pytorch_model.bin", "file/x.pt")]
    assert len({load_clip(config(place)).sha256 for place in places}) == 1
    assert clip_sha256(config(places[1])) == load_clip(config(places[0])).sha256


def test_a_part_that_is_missing_is_named(tmp_path):
    clip_of().save_pretrained(tmp_path, max_shard_size="10MB")
    gone = sorted(tmp_path.glob("*.safetensors"))[0]
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"names {gone.name}, which is not there"):
        load_clip(config(tmp_path))


def test_a_method_learns_on_it_and_images_are_prepared_as_its_files_say(tmp_path, saved):
    linked(tmp_path, saved)
    images = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    loaded = load_clip(config(tmp_path))
    cfg = CfgNode({"TRAINER": {"NAME": "CoOp"}, "DATASET": {"NAME": "OxfordPets"}, "TRAIN": {}, "TEST": {}})
    extend_cfg(cfg)
    method = build_method(cfg, ["cat", "red oak"], loaded)
    method.loss(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))["loss"].backward()
    assert method.ctx.grad.abs().sum() > 0
    node = config(tmp_path)
    node.INPUT = CfgNode({"SIZE": (32, 32), "INTERPOLATION": "bicubic", "CHECK": 1})
    node.MODEL.BACKBONE.CHECK_INPUT = True
    with pytest.raises(ConfigError, match="INPUT.INTERPOLATION is bicubic, expected bilinear"):
        check_input(node, loaded)


WIDE = {  # open_clip's config of a CLIP whose heads are not 64 wide
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 96, "patch_size": 16, "head_width": 48},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 32,
        "timm_model_name": "vit_test_patch16_siglip",
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": small_open_clip.MODELS["siglip"]["text_cfg"],
}


@pytest.fixture
def known_to_open_clip(tmp_path, monkeypatch):
    """Add a model to those that open_clip knows."""
    from open_clip import factory

    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))

    def add(name, written):
        folder = tmp_path / "known"
        folder.mkdir()
        (folder / f"{name}.json").write_text(json.dumps(written))
        factory.add_model_config(folder)

    return add


def test_a_clip_of_other_heads_is_open_clips(tmp_path, known_to_open_clip):
    model = clip_of("gelu", {"hidden_size": 96, "intermediate_size": 384}, hidden_size=64, intermediate_size=256)
    model.save_pretrained(tmp_path / "clip")
    with pytest.raises(CheckpointError, match="a clip of image size 32, .* open_clip has no such model"):
        load_clip(config(tmp_path / "clip"))
    known_to_open_clip("Small-wide", WIDE)
    loaded = same_logits(tmp_path / "clip", model)
    assert loaded.activation == "gelu" and loaded.opaque_text is None


def test_siglip_gives_transformers_logits(tmp_path, known_to_open_clip):
    import timm
    from timm.models.vision_transformer import VisionTransformer

    def vit_test_patch16_siglip(pretrained=False, **kwargs):
        sizes = {
            "patch_size": 16,
            "embed_dim": 64,
            "depth": 2,
            "num_heads": 2,
            "class_token": False,
            "global_pool": "map",
            "img_size": 32,
        }
        sizes |= {key: value for key, value in kwargs.items() if not key.startswith(("pretrained", "cache"))}
        trunk = VisionTransformer(**sizes)
        trunk.default_cfg = {"architecture": "vit_test_patch16_siglip"}
        return trunk

    timm.models.register_model(vit_test_patch16_siglip)
    known_to_open_clip("Small-SigLIP", SIGLIP)
    torch.manual_seed(0)
    text, vision = SIGLIP["text_cfg"], SIZES | {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 256}
    sizes = {
        "hidden_size": text["width"],
        "num_attention_heads": text["heads"],
        "num_hidden_layers": text["layers"],
        "intermediate_size": 4 * text["width"],
        "vocab_size": text["vocab_size"],
        "projection_size": 64,
    }
    images = {"image_size": 32, "patch_size": 16}
    model = contrasted(
        transformers.SiglipModel(transformers.SiglipConfig(text_config=sizes, vision_config=vision | images))
    )
    model.save_pretrained(tmp_path / "siglip")
    small_open_clip._write_tokenizer(tmp_path / "siglip", text["context_length"])
    loaded = same_logits(tmp_path / "siglip", model)
    assert loaded.logit_bias is not None and loaded.tokenizer.length == 64


@pytest.mark.parametrize(
    "name, kind, text, vision",
    [
        ("ViT-B-16-SigLIP", "siglip", {}, {}),
        ("ViT-B-16-SigLIP-384", "siglip", {}, {"image_size": 384}),
        ("ViT-B-16-SigLIP2", "siglip", {"vocab_size": 256000}, {}),
        ("ViT-SO400M-14-SigLIP-384", "siglip",
         {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16},
         {"hidden_size": 1152, "image_size": 384, "patch_size": 14}),
        ("ViT-H-14", "clip", {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
         {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14}),
        ("ViT-bigG-14", "clip", {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20},
         {"hidden_size": 1664, "num_hidden_layers": 48, "num_attention_heads": 16, "patch_size": 14}),
    ],
)  # fmt: skip
def test_the_sizes_that_people_have_are_found_in_open_clip(tmp_path, name, kind, text, vision):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": kind, "text_config": text, "vision_config": vision})
    )
    found = described(tmp_path)
    assert not found.is_openais and open_clip_model(found) == name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "chinese_clip"}, "model_type is 'chinese_clip', expected clip or siglip"),
        ({"text_config": {"hidden_act": "relu"}}, "hidden_act is 'quick_gelu' and 'relu', expected quick_gelu or gelu"),
        ({"text_config": {"vocab_size": 21128}}, "vocab_size is 21128, expected 49408"),
        ({"vision_config": {"layer_norm_eps": 1e-3}}, "layer_norm_eps is 0.001, expected 1e-05"),
        ({"vision_config": {"num_attention_heads": None}}, "num_attention_heads is None, expected int"),
        ({"text_config": 3}, "describes no CLIP that is known here"),
    ],
)
def test_another_model_is_one_line(tmp_path, saved, change, message):
    config_file = linked(tmp_path, saved) / "config.json"
    written = json.loads(config_file.read_text())
    config_file.unlink()
    config_file.write_text(json.dumps(written | change))
    with pytest.raises(CheckpointError, match=message):
        load_clip(config(tmp_path))


def test_an_image_tower_alone_is_no_clip(tmp_path):
    made = transformers.CLIPVisionConfig(**NARROW, image_size=32, patch_size=16)
    transformers.CLIPVisionModelWithProjection(made).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="is not a complete CLIP|holds no CLIP"):
        load_clip(config(tmp_path))
