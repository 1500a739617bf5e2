"""From soft prompts to text features: CLIP's text tower, read at EOT.

Two encoders give the same numbers. `plain` runs CLIP's own transformer over all positions of every prompt, as CoOp
does; it is the reference. `fast` (fast_text.py, beside this file) computes only what reaches the EOT position, and is
the default.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mocoop.clip.backbone import Backbone
from mocoop.clip.fast_text import FastTextTower
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block, layer_norm
from mocoop.clip.shares import encode_prompts, is_together
from mocoop.clip.tower_parts import NOTHING, TowerParts, insert_rows, replace_rows
from mocoop.errors import ConfigError

KINDS = ("fast", "plain")


class TextEncoder:
    """Encodes G soft prompts over C classes each.

    Args:
        clip_model: the CLIP whose text tower is used; it is shared, not copied.
        kind: "fast" or "plain"; a tower that can only be run as a whole is always plain.
        chunk: prompts (prompt x class) encoded at a time, the rest being recomputed in the backward pass; 0 chooses
            from the memory there is. The plain encoder does not chunk.

    Attributes:
        calls: how often it was called.
    """

    def __init__(self, clip_model: Backbone, kind: str = "fast", chunk: int = 0):
        self.kind, self.clip_model = "plain" if clip_model.opaque_text else kind, clip_model
        self.tower = FastTextTower(clip_model, chunk)
        self.calls = 0

    def __call__(
        self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout], parts: TowerParts | None = None
    ) -> Tensor:
        """Unnormalised text features (G, C, D).

        Args:
            contexts: G tensors (n, width) with the context vectors of each prompt; None for a prompt without any.
            layouts: G layouts of C classes each. One layout may stand at several places.
            parts: what is put into the tower.

        Raises:
            ConfigError: for a prompt that is shorter than the rows that are to be replaced in it, for prompts of
                another tokenizer, and for parts that the tower cannot take.
        """
        self.calls += 1
        parts = parts or NOTHING
        _check_tower(self.clip_model, layouts, parts)
        _check_rows(layouts, parts)
        if is_together():
            return encode_prompts(self._encode, contexts, layouts, parts)
        return self._encode(contexts, layouts, parts)

    def _encode(self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout], parts: TowerParts) -> Tensor:
        if self.kind == "fast":
            return self.tower(contexts, layouts, parts)
        of_each = (parts if parts is NOTHING else parts.of_prompts([g], len(layouts)) for g in range(len(layouts)))
        return torch.stack([encode_plain(self.clip_model, *prompt) for prompt in zip(contexts, layouts, of_each)])

    def halve_chunk(self) -> bool:
        """Halve the chunk after an out-of-memory error; False where it cannot get smaller."""
        return self.kind == "fast" and self.tower.halve_chunk()


def encode_plain(clip_model: Backbone, ctx: Tensor | None, layout: PromptLayout, parts: TowerParts = NOTHING) -> Tensor:
    """Text features (C, D) of one soft prompt by CLIP's own modules over all L positions (CoOp, TextEncoder)."""
    device, (classes, length) = layout.tokens.device, layout.tokens.shape
    rows = torch.arange(classes, device=device).repeat_interleave(length)
    columns = torch.arange(length, device=device).repeat(classes)
    ctx = None if ctx is None else ctx.unsqueeze(0)
    x = layout.embed(ctx, clip_model.token_embedding, rows, columns).view(classes, length, -1)
    if parts is NOTHING:
        return clip_model.encode_embedded(x, layout.tokens)
    x = x.to(clip_model.dtype) + clip_model.positional_embedding.to(clip_model.dtype)  # (C, L, W)
    x = _transformer_with_parts(clip_model, x, parts)
    x = layer_norm(clip_model.ln_final, "ln_final", parts)(x)
    ends = layout.lengths - 1 + sum(len(rows) for rows in parts.inserted.values())
    return clip_model.project_text(x[torch.arange(classes, device=device), ends])


def _transformer_with_parts(clip_model: Backbone, x: Tensor, parts: TowerParts) -> Tensor:
    """The transformer's output (C, L and what was inserted, W)."""
    for index, module in enumerate(clip_model.transformer.resblocks):
        if index in parts.inserted:
            x = insert_rows(x, parts.inserted[index])
        if index in parts.deep:
            x = replace_rows(x, 1, parts.deep[index][0])
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        x = Block(module, index, parts).plain(x, mask)
    return x


def _check_tower(clip_model: Backbone, layouts: Sequence[PromptLayout], parts: TowerParts) -> None:
    if any(layout.tokenizer != clip_model.tokenizer for layout in layouts):
        own, other = clip_model.tokenizer.name, layouts[0].tokenizer.name
        raise ConfigError(f"the prompts are made of tokens of {other}, expected those of this backbone, {own}")
    if clip_model.opaque_text and parts is not NOTHING:
        raise ConfigError(f"the text tower takes prompts at its input alone: it is {clip_model.opaque_text}")


def _check_rows(layouts: Sequence[PromptLayout], parts: TowerParts) -> None:
    longest = max((rows.shape[-2] for rows in parts.deep.values()), default=0)
    shortest = min((int(layout.lengths.min()) for layout in layouts), default=0) if longest else 0
    if longest and shortest < longest + 2:
        raise ConfigError(f"{longest} rows cannot be replaced in a prompt of {shortest} tokens, SOT and EOT among them")
