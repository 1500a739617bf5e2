"""CLIP and SigLIP of Hugging Face's transformers, by the names of OpenAI and open_clip.

CLIP is OpenAI's class under other names. What differs from it, and SigLIP, is built as open_clip's model of the same
sizes, where it has one. `config.json` beside the weights says what they do not: heads and activation.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mocoop.clip.openai import VOCABULARY_SIZE
from mocoop.errors import CheckpointError, DataError, quoted
from mocoop.files import read_json

CONFIG, IMAGES = "config.json", "preprocessor_config.json"
ACTIVATIONS = {"clip": ("quick_gelu", "gelu"), "siglip": ("gelu", "gelu_pytorch_tanh")}
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # by PIL's number
HEAD_WIDTH = 64  # of OpenAI's
MARK = "text_model.embeddings.token_embedding.weight"

_DEFAULTS: dict[str, dict[str, dict]] = {
    "clip": {
        "both": {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "text": {"hidden_size": 512, "num_attention_heads": 8, "max_position_embeddings": 77, "vocab_size": 49408},
        "vision": {"hidden_size": 768, "num_attention_heads": 12, "image_size": 224, "patch_size": 32},
    },
    "siglip": {
        "both": {
            "num_hidden_layers": 12,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "hidden_size": 768,
            "num_attention_heads": 12,
        },
        "text": {"max_position_embeddings": 64, "vocab_size": 32000},
        "vision": {"image_size": 224, "patch_size": 16},
    },
}
_TEXT_SIZES = (  # transformers' key, open_clip's, and its default
    ("hidden_size", "width", 512), ("num_hidden_layers", "layers", 12), ("num_attention_heads", "heads", 8),
    ("vocab_size", "vocab_size", 49408), ("max_position_embeddings", "context_length", 77),
)  # fmt: skip
_RENAMED = {  # in both towers of CLIP, and in SigLIP's text tower
    r"encoder\.layers\.": "transformer.resblocks.",
    r"self_attn\.": "attn.",
    r"layer_norm([12])": r"ln_\1",
    r"mlp\.fc1": "mlp.c_fc",
    r"mlp\.fc2": "mlp.c_proj",
    r"embeddings\.token_embedding": "token_embedding",
    r"embeddings\.position_embedding\.weight": "positional_embedding",
    r"embeddings\.class_embedding": "class_embedding",
    r"embeddings\.patch_embedding": "conv1",
    r"pre_layrnorm": "ln_pre",
    r"post_layernorm": "ln_post",
    r"final_layer_norm": "ln_final",
    r"^head": "text_projection",
}
_IN_TIMM = {  # in SigLIP's image tower
    r"encoder\.layers\.": "blocks.",
    r"self_attn\.out_proj": "attn.proj",
    r"self_attn\.in_proj_": "attn.qkv.",
    r"layer_norm([12])": r"norm\1",
    r"embeddings\.patch_embedding": "patch_embed.proj",
    r"embeddings\.position_embedding\.weight": "pos_embed",
    r"post_layernorm": "norm",
    r"head\.probe": "attn_pool.latent",
    r"head\.attention\.out_proj": "attn_pool.proj",
    r"head\.attention\.in_proj_": "attn_pool.qkv.",
    r"head\.layernorm": "attn_pool.norm",
    r"head\.mlp": "attn_pool.mlp",
}


@dataclass(frozen=True)
class Described:
    """What a model's files say beside its weights.

    Attributes:
        config: config.json.
        images: the arguments of `Preprocessing` that preprocessor_config.json gives.
    """

    path: Path
    config: dict
    images: dict

    @property
    def activation(self) -> str:
        """quick_gelu or gelu."""
        return "quick_gelu" if self.tower("text")["hidden_act"] == "quick_gelu" else "gelu"

    @property
    def is_tanh(self) -> bool:
        """Whether its GELU is the approximation by tanh."""
        return self.tower("text")["hidden_act"] == "gelu_pytorch_tanh"

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def is_siglip(self) -> bool:
        return self.config["model_type"] == "siglip"

    def tower(self, name: str) -> dict:
        return self.config[f"{name}_config"]

    @property
    def is_openais(self) -> bool:
        """Whether OpenAI's class is this model: all its heads are 64 wide."""
        sizes = (self.tower(name) for name in ("text", "vision"))
        return not self.is_siglip and all(s["hidden_size"] == HEAD_WIDTH * s["num_attention_heads"] for s in sizes)


def described(path: Path) -> Described | None:
    """What lies beside the weights in a folder, or beside a file of them; None without a config.json.

    Raises CheckpointError for a config that says nothing, or another model than CLIP or SigLIP.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        return None
    where = folder / CONFIG
    try:
        config = read_json(where)
        kind = config.get("model_type")
        if kind not in ("clip", "siglip"):
            raise ValueError(f"model_type is {quoted(kind)}, expected clip or siglip")
        config |= {f"{name}_config": _completed(config, name) for name in ("text", "vision")}
        _check_computed(kind, config["text_config"], config["vision_config"])
        return Described(path, config, _images(folder / IMAGES))
    except (DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} describes no CLIP that is known here: {error}") from error


def _completed(config: dict, tower: str) -> dict:
    """The config of a tower with what transformers, of which old versions wrote differences only, takes for granted.

    Raises ValueError for a value of another type.
    """
    defaults = _DEFAULTS[config["model_type"]]["both"] | _DEFAULTS[config["model_type"]][tower]
    known = dict(defaults)
    for key in (f"{tower}_config", f"{tower}_config_dict"):  # early versions wrote both
        known |= config.get(key) or {}
    for key, value in defaults.items():
        if type(known[key]) is not type(value):
            raise ValueError(f"{tower}_config.{key} is {quoted(known[key])}, expected {type(value).__name__}")
    return known


def _check_computed(kind: str, text: dict, vision: dict) -> None:
    """Raise ValueError for towers that compute what those of OpenAI or open_clip do not."""
    used = {text["hidden_act"], vision["hidden_act"]}
    if len(used) > 1 or not used <= set(ACTIVATIONS[kind]):
        expected = " or ".join(ACTIVATIONS[kind])
        raise ValueError(f"hidden_act is {' and '.join(map(quoted, sorted(used)))}, expected {expected}")
    fixed = {"layer_norm_eps": _DEFAULTS[kind]["both"]["layer_norm_eps"]}
    fixed |= {"vocab_size": VOCABULARY_SIZE} if kind == "clip" else {}
    for key, value in fixed.items():
        for tower in (text, vision):
            if tower.get(key, value) != value:
                raise ValueError(f"{key} is {tower[key]}, expected {value}")


def _images(path: Path) -> dict:
    if not path.is_file():
        return {}
    found = read_json(path)
    images: dict = {"interpolation": INTERPOLATIONS.get(found.get("resample"))}
    images |= {key: tuple(found[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in found}
    return {key: value for key, value in images.items() if value is not None}


def is_hugging_face(state: dict) -> bool:
    return MARK in state


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP's weights under OpenAI's names."""
    named = {}
    for name, value in _packed(state).items():
        tower, _, rest = name.partition(".")
        if tower in ("text_projection", "visual_projection"):
            named[{"visual_projection": "visual.proj"}.get(tower, tower)] = value.T.contiguous()
        elif tower in ("text_model", "vision_model"):
            named[("visual." if tower == "vision_model" else "") + _renamed(rest, _RENAMED)] = value
        else:
            named[name] = value
    return named


def siglip_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A SigLIP's weights under open_clip's names."""
    named = {}
    for name, value in _packed(state).items():
        tower, _, rest = name.partition(".")
        if tower == "vision_model":
            rest = _renamed(rest, _IN_TIMM)
            if rest == "pos_embed":
                value = value[None]
            if rest.startswith("attn_pool.qkv."):  # of one query, and of keys and values
                kind, width = rest.removeprefix("attn_pool.qkv."), len(value) // 3
                named[f"visual.trunk.attn_pool.q.{kind}"] = value[:width]
                named[f"visual.trunk.attn_pool.kv.{kind}"] = value[width:]
            else:
                named[f"visual.trunk.{rest}"] = value
        elif tower == "text_model":
            named[f"text.{_renamed(rest, _RENAMED)}"] = value
        else:
            named[name] = value.reshape(()) if name in ("logit_scale", "logit_bias") else value
    return named


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with queries, keys and values in one, and without the numbers of positions."""
    packed = {name: value for name, value in state.items() if not name.endswith(".position_ids")}
    for name in [name for name in packed if re.search(r"self_attn\.q_proj\.(weight|bias)$", name)]:
        parts = [packed.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        packed[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return packed


def _renamed(name: str, pairs: dict[str, str]) -> str:
    for pattern, replacement in pairs.items():
        name = re.sub(pattern, replacement, name)
    return name


def open_clip_model(model: Described) -> str:
    """The name of open_clip's model of the same sizes. Raises CheckpointError if it has none."""
    import open_clip

    text, vision = model.tower("text"), model.tower("vision")
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        alike = (config["text_cfg"].get(own, default) == text[key] for key, own, default in _TEXT_SIZES)
        if all(alike) and _is_tower(config, vision, model):
            return name
    sizes = f"image size {vision['image_size']}, patches of {vision['patch_size']}, widths {vision['hidden_size']} and "
    raise CheckpointError(
        f"{model.path} is a {model.config['model_type']} of {sizes}{text['hidden_size']}, {text['vocab_size']} tokens: "
        "open_clip has no such model"
    )


def _is_tower(config: dict, wanted: dict, model: Described) -> bool:
    found = config["vision_cfg"]
    if model.is_siglip:
        patch = re.search(r"patch(\d+)_siglip", found.get("timm_model_name") or "")
        fits = patch is not None and int(patch[1]) == wanted["patch_size"]
        return fits and (found["image_size"], config["embed_dim"]) == (wanted["image_size"], wanted["hidden_size"])
    if found.get("timm_model_name") or config.get("custom_text"):
        return False
    width = found.get("width", 768)
    sizes = (found.get("image_size"), found.get("patch_size"), width, found.get("layers"))
    heads = width // found.get("head_width", HEAD_WIDTH)
    keys = ("image_size", "patch_size", "hidden_size", "num_hidden_layers")
    return heads == wanted["num_attention_heads"] and sizes == tuple(wanted[key] for key in keys)
