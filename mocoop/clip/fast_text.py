"""CLIP's text tower without the work that cannot reach the result.

The tower is causal and read at EOT, so, exactly:
- positions after EOT never matter, and are not computed;
- the leading positions that all classes of a prompt share (SOT and the context before the class name) have the same
  keys and values for every class: they are computed once per prompt, up to the block, if any, before which rows of
  each class's own are put in;
- in the last layer only the EOT position is needed;
- what is left of each class, its *suffix*, is packed by length: no padding is computed.
With more prompts than the memory holds, suffixes are encoded in chunks that are computed again in the backward pass;
the gradients are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mocoop.clip.backbone import Backbone
from mocoop.clip.packing import (
    attend_suffixes,
    last_rows,
    make_buckets,
    order_by_length,
    stacks,
    with_own_prefix,
    with_replaced_rows,
)
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block, layer_norm
from mocoop.clip.tower_parts import NOTHING, TowerParts, insert_rows, replace_rows

CPU_MEMORY_BUDGET = 1 << 30  # bytes of activations kept for the backward pass; more is no faster on a CPU
CUDA_MEMORY_SHARE = 0.4  # of the device's memory


@dataclass(frozen=True)
class Prefix:
    """What the classes of G prompts share: P leading positions, P of a block's own.

    Attributes:
        states: each block's keys and values, (G, H, P, w) each.
        parts_at: the block from which on only SOT is shared; None if the whole prefix is, to the end.
        parted: (G, P - 1, W) states of the other positions before that block.
    """

    states: list[tuple[Tensor, Tensor]]
    parts_at: int | None
    parted: Tensor | None

    def of(self, prompts: slice) -> "Prefix":
        parted = None if self.parted is None else self.parted[prompts]
        return Prefix([(k[prompts], v[prompts]) for k, v in self.states], self.parts_at, parted)


class FastTextTower:
    """Encodes soft prompts with the text tower of `clip_model`, which is shared, not copied. See `TextEncoder`."""

    def __init__(self, clip_model: Backbone, chunk: int = 0):
        self.clip_model = clip_model
        self.modules = [] if clip_model.opaque_text else list(clip_model.transformer.resblocks)
        self.chunk = chunk
        self._last_chunk = 1  # prompts per chunk in the last pass

    def __call__(
        self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout], parts: TowerParts = NOTHING
    ) -> Tensor:
        """Unnormalised text features (G, C, D)."""
        features: list[Tensor | None] = [None] * len(layouts)
        for members in stacks(layouts):
            chosen = [contexts[g] for g in members], [layouts[g] for g in members]
            encoded = self._encode_stack(*chosen, parts.of_prompts(members, len(layouts)))
            for g, group_features in zip(members, encoded.unbind(0)):
                features[g] = group_features
        return torch.stack(features)

    def halve_chunk(self) -> bool:
        """Halve the number of prompts per chunk; False if it is one already."""
        if self.chunk == 1:
            return False
        self.chunk = max(1, (self.chunk or self._last_chunk) // 2)
        return True

    def _encode_stack(self, contexts, layouts, parts: TowerParts) -> Tensor:
        """Features (G, C, D) of G prompts whose layouts have one signature."""
        shared, prompts = _shared_length(layouts[0], parts), len(layouts)
        prefix = self._encode_prefix(contexts, layouts, parts, shared)
        order, inverse = order_by_length(layouts[0])
        chunk = self.chunk or self._auto_chunk(layouts[0], shared)
        self._last_chunk = min(chunk, prompts * len(order))
        recompute = torch.is_grad_enabled() and chunk < prompts * len(order)
        groups = []
        for members in torch.arange(prompts).split(max(1, chunk // len(order))):
            some = slice(int(members[0]), int(members[-1]) + 1)
            own = parts.of_prompts(members.tolist(), prompts)
            args = (contexts[some], layouts[some], prefix.of(some), own, shared)
            encoded = []
            for classes in order.split(chunk):
                if recompute:
                    options = {"use_reentrant": False, "preserve_rng_state": parts.drops_out}
                    encoded.append(checkpoint(self._encode_suffixes, *args, classes, **options))
                else:
                    encoded.append(self._encode_suffixes(*args, classes))
            groups.append(torch.cat(encoded, dim=1))
        return torch.cat(groups)[:, inverse]

    def _encode_prefix(self, contexts, layouts, parts: TowerParts, shared: int) -> Prefix:
        """What the shared leading positions give to each block."""
        columns = torch.arange(shared, device=layouts[0].tokens.device)
        x = self._embed(contexts, layouts, torch.zeros_like(columns), columns)  # (G, P, W)
        own_rows = [block for block, rows in parts.deep.items() if rows.shape[1] > 1]
        parts_at = min(own_rows, default=None) if shared > 1 else None
        states, parted = [], None
        for index, module in enumerate(self.modules):
            block = Block(module, index, parts)
            if index in parts.inserted:
                x = insert_rows(x, parts.inserted[index])
            if index == parts_at:
                x, parted = x[:, :1], x[:, 1:]
            elif index in parts.deep and x.shape[1] > 1:
                x = replace_rows(x, 1, parts.deep[index][:, 0])
            normed = block.ln_1(x)
            q, k, v = (part.transpose(1, 2) for part in block.attention_inputs(normed))  # (G, H, P, w)
            states.append((k, v))
            if shared and module is not self.modules[-1]:
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (G, H, P, w)
                x = block.finish(x, mixed.transpose(1, 2).flatten(2), normed)
        return Prefix(states, parts_at, parted)

    def _encode_suffixes(self, contexts, layouts, prefix: Prefix, parts: TowerParts, shared: int, classes) -> Tensor:
        """Features (G, n, D) of the given classes (n,), which are ordered by length."""
        buckets, groups = make_buckets(layouts[0], classes, shared), len(layouts)
        tokens = [self._embed(contexts, layouts, *bucket.positions()).flatten(0, 1) for bucket in buckets]
        x = torch.cat(tokens)  # (T, W), T = groups * sum of suffix lengths
        for index, module in enumerate(self.modules):
            block, is_last = Block(module, index, parts), module is self.modules[-1]
            if index == prefix.parts_at:
                x, buckets = with_own_prefix(x, buckets, prefix.parted)
            if index in parts.deep and buckets[0].start < 2:
                rows = parts.deep[index]
                x = with_replaced_rows(x, buckets, rows.expand(groups, *rows.shape[1:]))
            normed = block.ln_1(x)
            ends = last_rows(buckets, groups, x.device) if is_last else slice(None)
            q, k, v = block.attention_inputs(normed, queries=normed[ends] if is_last else None)
            mixed = attend_suffixes(q, k, v, *prefix.states[index], buckets, only_last=is_last)
            x = block.finish(x[ends], mixed, normed[ends])
        clip_model = self.clip_model
        x = layer_norm(clip_model.ln_final, "ln_final", parts)(x)
        features = clip_model.project_text(x)  # (G * n, D)
        sizes = [groups * len(bucket.classes) for bucket in buckets]
        return torch.cat([part.view(groups, -1, part.shape[-1]) for part in features.split(sizes)], dim=1)

    def _embed(self, contexts, layouts, rows: Tensor, columns: Tensor) -> Tensor:
        """Input of the first block at the given positions, (G, T, W)."""
        embedding, dtype = self.clip_model.token_embedding, self.clip_model.dtype
        if all(layout is layouts[0] for layout in layouts):
            ctx = None if contexts[0] is None else torch.stack(list(contexts))
            x = layouts[0].embed(ctx, embedding, rows, columns).expand(len(layouts), -1, -1)
        else:
            pairs = zip(contexts, layouts)
            each = [lay.embed(None if ctx is None else ctx[None], embedding, rows, columns) for ctx, lay in pairs]
            x = torch.cat(each)
        return x.to(dtype) + self.clip_model.positional_embedding[columns].to(dtype)

    def _auto_chunk(self, layout: PromptLayout, shared: int) -> int:
        """Prompts whose activations fit into the memory budget; the same on every run of one machine."""
        width, device = self.modules[0].ln_1.weight.shape[0], layout.tokens.device
        budget = CPU_MEMORY_BUDGET
        if device.type == "cuda":
            budget = int(torch.cuda.get_device_properties(device).total_memory * CUDA_MEMORY_SHARE)
        per_token = 14 * width * len(self.modules) * self.clip_model.positional_embedding.element_size()
        suffix = float((layout.lengths - shared).double().mean())
        return max(1, int(budget / (per_token * suffix)))


def _shared_length(layout: PromptLayout, parts: TowerParts) -> int:
    """How many leading positions are computed once for all classes.

    Rows to be replaced lie in the prefix as a whole, or behind it; with dropout no two prompts share anything.
    """
    if parts.drops_out:
        return 0
    longest = max((rows.shape[2] for rows in parts.deep.values()), default=0)
    return layout.prefix_length if longest < layout.prefix_length else 1
