"""The CLIP of an exported model: the hash of its file, and its weights as plain `clip` takes them."""

from pathlib import Path

import torch
from torch import Tensor

from mocoop.backbone import EMBEDDED
from mocoop.clip.openai import CLIP, MODEL_URLS
from mocoop.files import file_sha256
from mocoop.methods.base import PromptMethod
from mocoop.tiny import weights_file


def backbone_sha256(name: str) -> str:
    """SHA-256 of the file that a backbone's weights are from, by the name in MODEL.BACKBONE.NAME."""
    if name in MODEL_URLS:
        return MODEL_URLS[name].split("/")[-2]
    return file_sha256(weights_file(EMBEDDED[name]) if name in EMBEDDED else Path(name).expanduser())


def tuned_state(method: PromptMethod) -> dict[str, Tensor]:
    """The parameters that a method changes in CLIP, by their names in OpenAI's model, with LoRA merged into them."""
    own, tuned = method.clip_model.state_dict(), {}
    for tower, parts in (("visual.", method.image_parts()), ("", method.text_parts())):
        if parts is None:
            continue
        tuned |= {f"{tower}{name}": value for name, value in parts.norms.items()}
        for block, update in parts.lora.items():
            name = f"{tower}transformer.resblocks.{block}.attn.in_proj_weight"
            tuned[name] = own[name] + update.weight_update()
    return {name: value.detach() for name, value in tuned.items()}


def clip_state(clip_model: CLIP) -> dict[str, Tensor]:
    """OpenAI's state dict, in half precision if that loses nothing, as it does not for OpenAI's own weights."""
    state = {name: value.contiguous() for name, value in clip_model.state_dict().items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    exact = all(torch.equal(value, halves[name].to(value.dtype)) for name, value in state.items())
    return halves if exact else state
