"""Small CLIPs with random weights, OpenAI's class as it is, for tests."""

import copy
from functools import cache

import torch
from torch import Tensor, nn

from mocoop.clip.openai import CLIP, clip_modules


def small_clip(seed: int = 0, vision: str = "vit", double: bool = False, width: int = 64) -> CLIP:
    """A CLIP with 32 x 32 images, features of size 32 and a text tower of 3 layers of width 64; `width`: the ViT's.

    With `double` all of it computes in fp64. torch's generator is left as the draws of its weights leave it.
    """
    model, drawn = _drawn(seed, vision, double, width)
    torch.set_rng_state(drawn)
    return copy.deepcopy(model)


@cache
def _drawn(seed: int, vision: str, double: bool, width: int) -> tuple[CLIP, Tensor]:
    """A small CLIP, and the state of torch's generator after its weights were drawn."""
    torch.manual_seed(seed)
    tower = dict(vision_layers=2, vision_width=width, vision_patch_size=16)
    if vision == "rn":
        tower = dict(vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None)
    text = dict(context_length=77, vocab_size=49408, transformer_width=64, transformer_heads=2, transformer_layers=3)
    model = CLIP(32, 32, **tower, **text)
    with torch.no_grad():  # enough contrast that features of different prompts differ
        model.token_embedding.weight.normal_(std=0.3)
        model.positional_embedding.normal_(std=0.1)
        model.text_projection.normal_(std=0.3)
    drawn = torch.get_rng_state()
    return in_fp64(model) if double else model.eval().requires_grad_(False), drawn


def in_fp64(model: CLIP) -> CLIP:
    """The CLIP, all of which computes in fp64: OpenAI's LayerNorm, which rounds to fp32, becomes PyTorch's."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, clip_modules.LayerNorm):
                norm = nn.LayerNorm(child.normalized_shape)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    return model.double().eval().requires_grad_(False)
