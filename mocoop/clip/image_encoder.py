"""Image features: CLIP's own pass, or for vision transformers an exact one without the work that no one reads."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mocoop.clip.backbone import Backbone
from mocoop.clip.residual_block import Block, attend, layer_norm
from mocoop.clip.shares import encode_images, images_together
from mocoop.clip.tower_parts import NOTHING, TowerParts, insert_rows, replace_rows
from mocoop.errors import ConfigError


class ImageEncoder:
    """Encodes images with the image tower of `clip_model`, which is shared, not copied.

    Args:
        kind: "fast" or "plain". Fast reads a vision transformer's class token alone in its last layer, the only
            one that reaches the feature; any other tower is always encoded plainly.
    """

    def __init__(self, clip_model: Backbone, kind: str = "fast"):
        self.visual, self.opaque = clip_model.visual, clip_model.opaque_image
        self.is_fast = kind == "fast" and not self.opaque
        self._fast = fast_features

    def __call__(self, image: Tensor, parts: TowerParts | None = None) -> Tensor:
        """Unnormalised features (B, D) of images (B, 3, H, W).

        Raises ConfigError for parts that only a vision transformer can take.
        """
        parts = parts or NOTHING
        if images_together() is not None:
            return encode_images(self._encode, image, parts)
        return self._encode(image, parts)

    def _encode(self, image: Tensor, parts: TowerParts) -> Tensor:
        if self.is_fast:
            return self._fast(self.visual, image, parts)
        if parts.only_norms:
            return functional_call(self.visual, dict(parts.norms), (image,)) if parts.norms else self.visual(image)
        if self.opaque:
            raise ConfigError(
                f"prompts, adapters and LoRA in the image tower need a vision transformer, got {self.opaque}"
            )
        return plain_features(self.visual, image, parts)

    def compile(self) -> None:
        """Let torch compile the fast pass."""
        self._fast = torch.compile(fast_features)


def fast_features(visual: nn.Module, image: Tensor, parts: TowerParts) -> Tensor:
    """Features (B, D), in the last layer of the class token alone."""
    x = embed(visual, image, parts)
    *blocks, last = [Block(module, i, parts) for i, module in enumerate(visual.transformer.resblocks)]
    for block in blocks:
        x = before_block(x, block.index, parts)
        normed = block.ln_1(x)
        x = block.finish(x, attend(*block.attention_inputs(normed)), normed)
    x = before_block(x, last.index, parts)
    normed = last.ln_1(x)
    mixed = attend(*last.attention_inputs(normed, queries=normed[:, :1]))
    return project(visual, last.finish(x[:, :1], mixed, normed[:, :1])[:, 0], parts)


def plain_features(visual: nn.Module, image: Tensor, parts: TowerParts) -> Tensor:
    """Features (B, D) by CLIP's own modules over all positions; the reference."""
    x = embed(visual, image, parts)
    for i, module in enumerate(visual.transformer.resblocks):
        x = before_block(x, i, parts)
        x = Block(module, i, parts).plain(x, mask=None)
    return project(visual, x[:, 0], parts)


def embed(visual: nn.Module, image: Tensor, parts: TowerParts) -> Tensor:
    """The input of the first block, (B, 1 + patches + n, W)."""
    patches = visual.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, W)
    first = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
    x = torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    if parts.tokens is not None:
        x = torch.cat([x, parts.tokens.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
    return layer_norm(visual.ln_pre, "ln_pre", parts)(x)


def before_block(x: Tensor, index: int, parts: TowerParts) -> Tensor:
    """States (B, L, W) with the rows that belong before a block."""
    if index in parts.inserted:
        return insert_rows(x, parts.inserted[index])
    if index in parts.deep:
        rows = parts.deep[index]
        return replace_rows(x, x.shape[1] - len(rows), rows)
    return x


def project(visual: nn.Module, class_token: Tensor, parts: TowerParts) -> Tensor:
    """Features (B, D) of the class token's last states (B, W)."""
    x = layer_norm(visual.ln_post, "ln_post", parts)(class_token)
    return x if visual.proj is None else x @ visual.proj
