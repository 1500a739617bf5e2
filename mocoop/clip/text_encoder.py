"""From soft prompts to text features: CLIP's text tower, read at EOT.

Two encoders give the same numbers. `plain` runs CLIP's own transformer over all positions of every prompt, as CoOp
does; it is the reference. `fast` (fast_text.py, beside this file) computes only what reaches the EOT position, and is
the default.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mocoop.clip.backbone import Backbone
from mocoop.clip.fast_text import Contexts, FastTextTower, Layouts
from mocoop.clip.packing import EOT
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block
from mocoop.clip.shares import encode_prompts, sharing
from mocoop.clip.tower_parts import NOTHING, TowerParts, put_in, with_weights
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
        self, contexts: Contexts, layouts: Layouts, parts: TowerParts | None = None, chosen: Tensor | None = None
    ) -> Tensor:
        """Unnormalised text features (G, C, D).

        Args:
            contexts: G tensors (n, width) with the context vectors of each prompt; None for a prompt without any.
            layouts: G layouts of C classes each. One layout may stand at several places.
            parts: what is put into the tower.
            chosen: the prompts (n,) that are encoded, by their numbers on the device; all without it. What the others
                learn gets a gradient of zero. No rows can be put in beside it.

        Raises:
            ConfigError: for a prompt that is shorter than the rows that are to be replaced in it, for prompts of
                another tokenizer, and for parts that the tower cannot take.
        """
        if chosen is not None and parts is not None and parts.rows:
            raise ValueError("rows are put into all prompts alike, expected none where prompts are chosen")
        encode = self._features if chosen is None else partial(self._features, chosen=chosen)
        return self._shared(encode, contexts, layouts, parts or NOTHING)

    def states(
        self, contexts: Contexts, layouts: Layouts, parts: TowerParts | None = None, read: Sequence[int] = EOT
    ) -> Tensor:
        """Last states (G, C, R, W), after ln_final, of R positions of each prompt; arguments and errors as above.

        Args:
            read: 0 is SOT, behind which inserted rows stand; -1 is EOT, -2 the position before it.
        """
        return self._shared(partial(self._states, read=tuple(read)), contexts, layouts, parts or NOTHING)

    def project(self, states: Tensor) -> Tensor:
        """Features (..., D) of last states (..., W), by CLIP's own projection."""
        return self.clip_model.project_text(states)

    def halve_chunk(self) -> bool:
        """Halve the chunk after an out-of-memory error; False where it cannot get smaller."""
        return self.kind == "fast" and self.tower.halve_chunk()

    def _shared(self, encode: Callable[..., Tensor], contexts: Contexts, layouts: Layouts, parts: TowerParts) -> Tensor:
        self.calls += 1
        _check_tower(self.clip_model, layouts, parts)
        _check_rows(layouts, parts)
        if sharing.together:
            return encode_prompts(encode, contexts, layouts, parts)
        return encode(contexts, layouts, parts)

    def _features(
        self, contexts: Contexts, layouts: Layouts, parts: TowerParts, chosen: Tensor | None = None
    ) -> Tensor:
        if self.kind == "fast":
            return self._project(self.tower(contexts, layouts, parts, EOT, chosen)[:, :, 0], parts)
        if chosen is not None:
            numbers = chosen.tolist()
            contexts, layouts = [contexts[g] for g in numbers], [layouts[g] for g in numbers]
        if parts is NOTHING:
            return torch.stack([encode_plain(self.clip_model, *prompt) for prompt in zip(contexts, layouts)])
        return self._project(self._states(contexts, layouts, parts, EOT)[:, :, 0], parts)

    def _project(self, states: Tensor, parts: TowerParts) -> Tensor:
        return self.clip_model.project_text(states, parts.weights)

    def _states(self, contexts: Contexts, layouts: Layouts, parts: TowerParts, read: tuple[int, ...]) -> Tensor:
        if self.kind == "fast":
            return self.tower(contexts, layouts, parts, read)
        of_each = (parts.of_prompts([g]) for g in range(len(layouts)))
        each = zip(contexts, layouts, of_each)
        return torch.stack([plain_states(self.clip_model, *prompt, read) for prompt in each])


def encode_plain(clip_model: Backbone, ctx: Tensor | None, layout: PromptLayout) -> Tensor:
    """Text features (C, D) of one soft prompt by CLIP's own pass over all L positions (CoOp, TextEncoder)."""
    return clip_model.encode_embedded(_embedded(clip_model, ctx, layout), layout.tokens)


def plain_states(
    clip_model: Backbone, ctx: Tensor | None, layout: PromptLayout, parts: TowerParts, read: tuple[int, ...] = EOT
) -> Tensor:
    """Last states (C, R, W) of one soft prompt by CLIP's own modules over all positions; the reference."""
    x = _embedded(clip_model, ctx, layout).to(clip_model.dtype) + clip_model.positional_embedding.to(clip_model.dtype)
    ends = layout.lengths + sum(len(rows) for rows in parts.rows.values() if rows.grows)  # (C,)
    for index, module in enumerate(clip_model.transformer.resblocks):
        if index in parts.rows:
            rows = parts.rows[index]
            x = put_in(x, replace(rows, value=rows.value[0]))
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        x = Block(module, index, parts).plain(x, mask)
    x = with_weights(clip_model.ln_final, "ln_final.", parts.weights)(x)
    places = torch.stack([ends + place if place < 0 else torch.full_like(ends, place) for place in read], dim=1)
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))


def _embedded(clip_model: Backbone, ctx: Tensor | None, layout: PromptLayout) -> Tensor:
    """(C, L, W) embeddings of all positions."""
    device, (classes, length) = layout.tokens.device, layout.tokens.shape
    rows = torch.arange(classes, device=device).repeat_interleave(length)
    columns = torch.arange(length, device=device).repeat(classes)
    ctx = None if ctx is None else ctx.unsqueeze(0)
    return layout.embed(ctx, clip_model.token_embedding, rows, columns).view(classes, length, -1)


def _check_tower(clip_model: Backbone, layouts: Layouts, parts: TowerParts) -> None:
    if any(layout.tokenizer != clip_model.tokenizer for layout in layouts):
        own, other = clip_model.tokenizer.name, layouts[0].tokenizer.name
        raise ConfigError(f"the prompts are made of tokens of {other}, expected those of this backbone, {own}")
    if clip_model.opaque_text and parts is not NOTHING:
        raise ConfigError(f"the text tower takes prompts at its input alone: it is {clip_model.opaque_text}")


def _check_rows(layouts: Layouts, parts: TowerParts) -> None:
    if wrong := [rows.how for rows in parts.rows.values() if rows.how not in ("replace", "insert")]:
        raise ConfigError(f"the text tower takes rows by replace or insert, got {wrong[0]}")
    longest = max((len(rows) for rows in parts.rows.values() if rows.how == "replace"), default=0)
    room = sum(len(rows) for rows in parts.rows.values() if rows.grows)
    shortest = min(layout.shortest for layout in layouts) + room
    if longest and shortest < longest + 2:
        raise ConfigError(f"{longest} rows cannot be replaced in a prompt of {shortest} tokens, SOT and EOT among them")
