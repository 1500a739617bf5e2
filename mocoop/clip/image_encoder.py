"""Image features: CLIP's own pass, or for vision transformers an exact one without the work that no one reads."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from mocoop.clip.backbone import Backbone, VisionTransformer
from mocoop.clip.residual_block import Block, attend
from mocoop.clip.shares import encode_images, sharing
from mocoop.clip.tower_parts import NOTHING, TowerParts, put_in, with_weights
from mocoop.errors import ConfigError

CLASS_TOKEN = (0,)


class ImageEncoder:
    """Encodes images with the image tower of `clip_model`, which is shared, not copied.

    Args:
        kind: "fast" or "plain". Fast computes in a vision transformer's last layer only the rows that are read, the
            class token's by default; any other tower is always encoded plainly.
    """

    def __init__(self, clip_model: Backbone, kind: str = "fast"):
        self.clip_model, self.opaque = clip_model, clip_model.opaque_image
        self.is_fast = kind == "fast" and not self.opaque

    def __call__(self, image: Tensor, parts: TowerParts | None = None) -> Tensor:
        """Unnormalised features (B, D) of images (B, 3, H, W).

        Raises ConfigError for parts that only a vision transformer can take.
        """
        parts = parts or NOTHING
        return _shared(self._features, image, parts)

    def states(self, image: Tensor, parts: TowerParts | None = None, read: Sequence[int] = CLASS_TOKEN) -> Tensor:
        """Last states (B, R, W), after ln_post, of R rows of each image's sequence.

        Args:
            read: their places: 0 is the class token, patches follow it, and rows that were put in stand where they
                were put; negative places count from the end.

        Raises ConfigError for a tower that is no vision transformer.
        """
        parts = parts or NOTHING
        self._need_transformer("its rows cannot be read")
        return _shared(lambda image, parts: self._states(image, parts, tuple(read)), image, parts)

    def project(self, states: Tensor) -> Tensor:
        """Features (..., D) of last states (..., W), by CLIP's own projection."""
        return project(self.clip_model.vision_transformer, states)

    def _features(self, image: Tensor, parts: TowerParts) -> Tensor:
        if not self.is_fast and parts.only_weights:
            visual = self.clip_model.visual
            return functional_call(visual, dict(parts.weights), (image,)) if parts.weights else visual(image)
        self._need_transformer("prompts, adapters and LoRA cannot be put into it")
        return project(self.clip_model.vision_transformer, self._states(image, parts, CLASS_TOKEN)[:, 0], parts)

    def _states(self, image: Tensor, parts: TowerParts, read: tuple[int, ...]) -> Tensor:
        encode = fast_states if self.is_fast else plain_states
        return encode(self.clip_model.vision_transformer, image, parts, read)

    def _need_transformer(self, otherwise: str) -> None:
        if self.opaque:
            raise ConfigError(f"the image tower is {self.opaque}, expected a vision transformer: {otherwise}")


def _shared(encode: Callable[[Tensor, TowerParts], Tensor], image: Tensor, parts: TowerParts) -> Tensor:
    return encode(image, parts) if sharing.images is None else encode_images(encode, image, parts)


def fast_states(visual: VisionTransformer, image: Tensor, parts: TowerParts, read: tuple[int, ...]) -> Tensor:
    """Last states (B, R, W), in the last layer of the rows that are read alone."""
    x = embed(visual, image, parts)
    seen = seen_rows(x, parts)
    *blocks, last = [Block(module, i, parts) for i, module in enumerate(visual.transformer.resblocks)]
    for block in blocks:
        x = before_block(x, block.index, parts)
        normed = block.ln_1(x)
        q, k, v = (block.by_head(t) for t in block.queries_keys_values(normed).chunk(3, -1))
        x = block.finish(x, attend(q, k, v, seen), normed)
    x = before_block(x, last.index, parts)
    normed = last.ln_1(x)
    own = rows_at(normed, read)
    k, v = (last.by_head(t) for t in last.keys_values(normed).chunk(2, -1))
    of_read = None if seen is None or read == CLASS_TOKEN else rows_at(seen[None], read)[0]
    mixed = attend(last.by_head(last.queries(own)), k, v, of_read)
    return with_weights(visual.ln_post, "ln_post.", parts.weights)(last.finish(rows_at(x, read), mixed, own))


def plain_states(visual: VisionTransformer, image: Tensor, parts: TowerParts, read: tuple[int, ...]) -> Tensor:
    """Last states (B, R, W) by CLIP's own modules over all positions; the reference."""
    x = embed(visual, image, parts)
    seen = seen_rows(x, parts)
    mask = None if seen is None else torch.zeros_like(seen, dtype=x.dtype).masked_fill(~seen, float("-inf"))
    for i, module in enumerate(visual.transformer.resblocks):
        x = Block(module, i, parts).plain(before_block(x, i, parts), mask)
    return with_weights(visual.ln_post, "ln_post.", parts.weights)(rows_at(x, read))


def plain_features(visual: VisionTransformer, image: Tensor, parts: TowerParts) -> Tensor:
    """Features (B, D) by CLIP's own modules over all positions."""
    return project(visual, plain_states(visual, image, parts, CLASS_TOKEN)[:, 0], parts)


def project(visual: VisionTransformer, states: Tensor, parts: TowerParts = NOTHING) -> Tensor:
    """Features (..., D) of last states (..., W)."""
    return states if visual.proj is None else states @ parts.weights.get("proj", visual.proj)


def embed(visual: VisionTransformer, image: Tensor, parts: TowerParts) -> Tensor:
    """The input of the first block, (B, 1 + patches + n, W)."""
    patches = visual.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, W)
    first = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
    x = torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    if parts.tokens is not None:
        x = torch.cat([x, parts.tokens.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
    return with_weights(visual.ln_pre, "ln_pre.", parts.weights)(x)


def seen_rows(x: Tensor, parts: TowerParts) -> Tensor | None:
    """Which rows each row of x (B, L, W), the first block's input, attends to in every block (L, L); None: to all."""
    if not parts.hidden or parts.tokens is None:
        return None
    behind = x.shape[1] - len(parts.tokens)
    seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
    seen[1:behind, behind : behind + parts.hidden] = False
    return seen


def before_block(x: Tensor, index: int, parts: TowerParts) -> Tensor:
    """States (B, L, W) with the rows that belong before a block."""
    return put_in(x, parts.rows[index]) if index in parts.rows else x


def rows_at(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """Rows (B, R, W) of x (B, L, W); neighbours are a view."""
    places = tuple(place % x.shape[1] for place in places)
    first = places[0]
    if places == tuple(range(first, first + len(places))):
        return x[:, first : first + len(places)]
    return torch.stack([x[:, place] for place in places], dim=1)
