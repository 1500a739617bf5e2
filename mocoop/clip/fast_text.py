"""CLIP's text tower without the work that cannot reach the result.

The tower is causal and read at EOT, so, exactly:
- positions after EOT never matter, and are not computed;
- the leading positions that all classes of a prompt share (SOT and the context before the class name) have the same
  keys and values for every class: they are computed once per prompt;
- in the last layer only the EOT position is needed;
- what is left of each class, its *suffix*, is packed by length: no padding is computed.
With more prompts than the memory holds, suffixes are encoded in chunks that are computed again in the backward pass;
the gradients are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mocoop.clip.openai import CLIP
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import after_attention, attention_inputs

CPU_MEMORY_BUDGET = 1 << 30  # bytes of activations kept for the backward pass; more is no faster on a CPU
CUDA_MEMORY_SHARE = 0.4  # of the device's memory


@dataclass(frozen=True)
class Bucket:
    """Suffixes of one length: `classes` are rows of a layout, each with `length` positions from `start` on."""

    classes: Tensor  # (n,)
    start: int
    length: int

    def positions(self) -> tuple[Tensor, Tensor]:
        """Class and position of each suffix token, (n * length,) each."""
        columns = torch.arange(self.start, self.start + self.length, device=self.classes.device)
        return self.classes.repeat_interleave(self.length), columns.repeat(len(self.classes))


class FastTextTower(nn.Module):
    """Encodes soft prompts with the text tower of `clip_model`, which is shared, not copied. See `TextEncoder`."""

    def __init__(self, clip_model: CLIP, chunk: int = 0):
        super().__init__()
        self.clip_model = [clip_model]
        self.blocks = list(clip_model.transformer.resblocks)
        self.chunk = chunk
        self._last_chunk = 1  # prompts per chunk in the last pass

    def forward(self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout]) -> Tensor:
        """Unnormalised text features (G, C, D)."""
        features: list[Tensor | None] = [None] * len(layouts)
        for members in _stacks(layouts):
            encoded = self._encode_stack([contexts[g] for g in members], [layouts[g] for g in members])
            for g, group_features in zip(members, encoded.unbind(0)):
                features[g] = group_features
        return torch.stack(features)

    def halve_chunk(self) -> bool:
        """Halve the number of prompts per chunk; False where it is one already."""
        if self.chunk == 1:
            return False
        self.chunk = max(1, (self.chunk or self._last_chunk) // 2)
        return True

    def _encode_stack(self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout]) -> Tensor:
        """Features (G, C, D) of G prompts whose layouts have one signature."""
        prefix = self._prefix_states(contexts, layouts)
        order, inverse = _order_by_length(layouts[0])
        chunk = self.chunk or self._auto_chunk(layouts[0])
        self._last_chunk = min(chunk, len(layouts) * len(order))
        recompute = torch.is_grad_enabled() and chunk < len(layouts) * len(order)
        groups = []
        for members in torch.arange(len(layouts)).split(max(1, chunk // len(order))):
            first, last = int(members[0]), int(members[-1]) + 1
            states = [(k[first:last], v[first:last]) for k, v in prefix]
            parts = []
            for classes in order.split(chunk):
                args = (contexts[first:last], layouts[first:last], states, classes)
                if recompute:
                    parts.append(
                        checkpoint(self._suffix_features, *args, use_reentrant=False, preserve_rng_state=False)
                    )
                else:
                    parts.append(self._suffix_features(*args))
            groups.append(torch.cat(parts, dim=1))
        return torch.cat(groups)[:, inverse]

    def _prefix_states(self, contexts, layouts) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values of the shared leading positions, (G, H, P, head width) each."""
        length, device = layouts[0].prefix_length, layouts[0].tokens.device
        columns = torch.arange(length, device=device)
        x = self._embed(contexts, layouts, torch.zeros_like(columns), columns)  # (G, P, W)
        states = []
        for block in self.blocks:
            q, k, v = attention_inputs(block, block.ln_1(x))  # (G, P, H, w)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            states.append((k, v))
            if block is self.blocks[-1]:
                break
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (G, H, P, w)
            x = after_attention(block, x, mixed.transpose(1, 2).flatten(2))
        return states

    def _suffix_features(self, contexts, layouts, states, classes: Tensor) -> Tensor:
        """Features (G, n, D) of the given classes (n,), which are ordered by length."""
        buckets = list(_buckets(layouts[0], classes))
        groups = len(layouts)
        tokens = [self._embed(contexts, layouts, *bucket.positions()).flatten(0, 1) for bucket in buckets]
        x = torch.cat(tokens)  # (T, W), T = groups * sum of suffix lengths
        last_rows = _last_rows(buckets, groups).to(x.device)
        for block, (prefix_k, prefix_v) in zip(self.blocks, states):
            is_last = block is self.blocks[-1]
            normed = block.ln_1(x)
            q, k, v = attention_inputs(block, normed, queries=normed[last_rows] if is_last else None)
            mixed = _attend_suffixes(q, k, v, prefix_k, prefix_v, buckets, only_last=is_last)
            x = after_attention(block, x[last_rows] if is_last else x, mixed)
        clip_model = self.clip_model[0]
        features = clip_model.ln_final(x).to(clip_model.dtype) @ clip_model.text_projection  # (G * n, D)
        sizes = [groups * len(bucket.classes) for bucket in buckets]
        return torch.cat([part.view(groups, -1, part.shape[-1]) for part in features.split(sizes)], dim=1)

    def _embed(self, contexts, layouts, rows: Tensor, columns: Tensor) -> Tensor:
        """Input of the first layer at the given positions, (G, T, W)."""
        clip_model = self.clip_model[0]
        embedding, dtype = clip_model.token_embedding, clip_model.dtype
        if all(layout is layouts[0] for layout in layouts):
            ctx = None if contexts[0] is None else torch.stack(list(contexts))
            x = layouts[0].embed(ctx, embedding, rows, columns).expand(len(layouts), -1, -1)
        else:
            pairs = zip(contexts, layouts)
            each = [lay.embed(None if ctx is None else ctx[None], embedding, rows, columns) for ctx, lay in pairs]
            x = torch.cat(each)
        return x.to(dtype) + clip_model.positional_embedding[columns].to(dtype)

    def _auto_chunk(self, layout: PromptLayout) -> int:
        """Prompts whose activations fit into the memory budget; the same on every run of one machine."""
        width, device = self.blocks[0].ln_1.weight.shape[0], layout.tokens.device
        budget = CPU_MEMORY_BUDGET
        if device.type == "cuda":
            budget = int(torch.cuda.get_device_properties(device).total_memory * CUDA_MEMORY_SHARE)
        per_token = 14 * width * len(self.blocks) * self.clip_model[0].positional_embedding.element_size()
        suffix = float((layout.lengths - layout.prefix_length).double().mean())
        return max(1, int(budget / (per_token * suffix)))


def _stacks(layouts: Sequence[PromptLayout]) -> list[list[int]]:
    """Places of the layouts that can be encoded in one batch."""
    stacks: dict[tuple, list[int]] = {}
    for place, layout in enumerate(layouts):
        stacks.setdefault(layout.signature, []).append(place)
    return list(stacks.values())


def _order_by_length(layout: PromptLayout) -> tuple[Tensor, Tensor]:
    order = torch.argsort(layout.lengths, stable=True)
    return order, torch.argsort(order)


def _buckets(layout: PromptLayout, classes: Tensor) -> Iterator[Bucket]:
    lengths, counts = torch.unique_consecutive(layout.lengths[classes], return_counts=True)
    for length, members in zip(lengths.tolist(), classes.split(counts.tolist())):
        yield Bucket(members, layout.prefix_length, length - layout.prefix_length)


def _last_rows(buckets: Sequence[Bucket], groups: int) -> Tensor:
    """Rows of the packed tokens that hold EOT, (G * n,)."""
    rows, offset = [], 0
    for bucket in buckets:
        count = groups * len(bucket.classes)
        rows.append(offset + bucket.length * torch.arange(1, count + 1) - 1)
        offset += count * bucket.length
    return torch.cat(rows)


def _attend_suffixes(q, k, v, prefix_k, prefix_v, buckets: Sequence[Bucket], only_last: bool) -> Tensor:
    """Causal attention of packed suffix tokens to their prompt's prefix and their own class's suffix, (T, W)."""
    groups, heads, _, width = prefix_k.shape
    sizes = [groups * len(bucket.classes) * bucket.length for bucket in buckets]
    query_sizes = [groups * len(bucket.classes) for bucket in buckets] if only_last else sizes
    out = []
    for bucket, qb, kb, vb in zip(buckets, q.split(query_sizes), k.split(sizes), v.split(sizes)):
        shape = (groups, len(bucket.classes), -1, heads, width)
        parts = (qb.view(shape), kb.view(shape), vb.view(shape), prefix_k, prefix_v)
        out.append(_attend(*parts).flatten(0, 2).flatten(1))
    return torch.cat(out)


def _attend(q, k, v, prefix_k, prefix_v) -> Tensor:
    """q (G, n, Q, H, w) over a prefix (G, H, P, w) and own keys (G, n, L, H, w); query i sees keys up to L - Q + i."""
    groups, count, queries, heads, width = q.shape
    own, prefix = k.shape[2], prefix_k.shape[2]
    q = q * width**-0.5
    by_head = q.permute(0, 3, 1, 2, 4)  # (G, H, n, Q, w)
    to_prefix = (by_head.flatten(2, 3) @ prefix_k.transpose(2, 3)).view(groups, heads, count, queries, prefix)
    to_own = by_head @ k.permute(0, 3, 1, 4, 2)  # (G, H, n, Q, L)
    if queries > 1:
        future = torch.ones(queries, own, dtype=torch.bool, device=q.device).triu(own - queries + 1)
        to_own = to_own.masked_fill(future, float("-inf"))
    weights = torch.cat([to_prefix, to_own], dim=-1).softmax(-1)
    from_prefix, from_own = weights.split([prefix, own], dim=-1)
    out = (from_prefix.flatten(2, 3) @ prefix_v).view(groups, heads, count, queries, width)
    out = out + from_own @ v.permute(0, 3, 1, 2, 4)
    return out.permute(0, 2, 3, 1, 4)  # (G, n, Q, H, w)
