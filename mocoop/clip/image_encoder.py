"""Image features: CLIP's own pass, or for vision transformers an exact one without the work that no one reads."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mocoop.clip.openai import CLIP
from mocoop.clip.openai import clip_model as openai_model
from mocoop.clip.residual_block import after_attention, attend, attention_inputs
from mocoop.clip.tower_parts import TowerParts


class ImageEncoder(nn.Module):
    """Encodes images with the image tower of `clip_model`, which is shared, not copied.

    Args:
        kind: "fast" or "plain". Fast reads a vision transformer's class token alone in its last layer, the only
            one that reaches the feature; a ResNet is always encoded plainly.
    """

    def __init__(self, clip_model: CLIP, kind: str = "fast"):
        super().__init__()
        self.clip_model = [clip_model]
        self.is_fast = kind == "fast" and isinstance(clip_model.visual, openai_model.VisionTransformer)

    def forward(self, image: Tensor, parts: TowerParts | None = None) -> Tensor:
        """Unnormalised features (B, D) of images (B, 3, H, W)."""
        visual = self.clip_model[0].visual
        tower = _ClassToken(visual) if self.is_fast else visual
        if parts is None or not parts.norms:
            return tower(image)
        prefix = "visual." if self.is_fast else ""
        return functional_call(tower, {prefix + name: value for name, value in parts.norms.items()}, (image,))


class _ClassToken(nn.Module):
    """A vision transformer that computes its class token's output alone."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual

    def forward(self, image: Tensor) -> Tensor:
        return _class_token(self.visual, image)


def _class_token(visual: nn.Module, image: Tensor) -> Tensor:
    patches = visual.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, W)
    first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
    x = torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    x = visual.ln_pre(x)  # (B, 1 + patches, W)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = after_attention(block, x, attend(*attention_inputs(block, block.ln_1(x))))
    normed = last.ln_1(x)
    mixed = attend(*attention_inputs(last, normed, queries=normed[:, :1]))
    x = visual.ln_post(after_attention(last, x[:, :1], mixed)[:, 0])  # (B, W)
    return x if visual.proj is None else x @ visual.proj
