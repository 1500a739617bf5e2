"""The CLIP of an exported model: its files as plain `clip` or open_clip take them."""

import json

import torch
from safetensors.torch import save
from torch import Tensor

from mocoop.clip.backbone import Backbone
from mocoop.clip.open_clip import OpenCLIP
from mocoop.methods.base import PromptMethod

BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG = "backbone.safetensors", "open_clip_model.safetensors", "open_clip_config.json"


def tuned_state(method: PromptMethod) -> dict[str, Tensor]:
    """The parameters that a method changes in CLIP, by their makers' names, with LoRA merged into them."""
    own = method.clip_model.model.state_dict()
    tuned: dict[str, Tensor] = {}
    for tower, parts in (("visual.", method.image_parts()), (method.clip_model.text_prefix, method.text_parts())):
        if parts is None:
            continue
        tuned |= {f"{tower}{name}": value for name, value in parts.weights.items()}
        for block, update in parts.lora.items():
            name = f"{tower}transformer.resblocks.{block}.attn.in_proj_weight"
            tuned[name] = own[name] + update.weight_update()
    return {name: value.detach() for name, value in tuned.items()}


def backbone_files(clip_model: Backbone) -> dict[str, bytes]:
    """The files that a backbone is loaded from: OpenAI's state dict, or a folder of open_clip's."""
    weights = save(_state(clip_model))
    if not isinstance(clip_model, OpenCLIP):
        return {BACKBONE: weights}
    images = clip_model.preprocessing
    prepared = {"size": images.size, "mean": images.mean, "std": images.std, "interpolation": images.interpolation}
    config = {"model_cfg": clip_model.config, "preprocess_cfg": prepared}
    return {OPEN_CLIP: weights, OPEN_CLIP_CONFIG: json.dumps(config, indent=1).encode()}


def _state(clip_model: Backbone) -> dict[str, Tensor]:
    """Its state dict, in half precision if that loses nothing, as it does not for OpenAI's own weights."""
    state = {name: value.contiguous() for name, value in clip_model.model.state_dict().items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    exact = all(torch.equal(value, halves[name].to(value.dtype)) for name, value in state.items())
    return halves if exact else state
