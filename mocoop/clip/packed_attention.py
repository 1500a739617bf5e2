"""What a block of the text tower does to packed rows beside its linear layers: rows are put in, and attend."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mocoop.clip.frozen_linear import without_autocast
from mocoop.clip.packing import Attention, Change
from mocoop.clip.tower_parts import Rows


def change_rows(x: Tensor, change: Change, rows: Rows) -> Tensor:
    """Packed rows (T', W) of x (T, W) and of what is put in."""
    value = rows.value.to(x.dtype)
    if change.mixed is not None and rows.mix is not None:
        there = x.index_select(0, change.mixed.flatten()).view(*change.mixed.shape, -1)
        value = rows.mix(value, there).expand_as(there)  # (G, C or 1, n, W)
    value = value.reshape(-1, x.shape[-1])
    if change.replaced is not None:
        return x.index_copy(0, change.replaced, value if change.by is None else value.index_select(0, change.by))
    return torch.cat([x, value]).index_select(0, cast(Tensor, change.source))


def attend(states: Tensor, how: Attention, queries: Tensor | None = None) -> Tensor:
    """What each row is given by causal attention to its prompt's prefix and its own class's suffix.

    Args:
        states: (T, 3 W) queries, keys and values of all rows; or (T, 2 W) keys and values.
        queries: then (G C Q, W), of the rows that are read.

    Returns:
        (T, W), or (G C Q, W).
    """
    prompts, heads, classes, _ = how.suffixes
    own, common = _product(how.suffixes), _product(how.prefixes)
    parts = 3 if queries is None else 2
    width = states.shape[-1] // (parts * heads)
    padded = _Padded.apply(states.reshape(-1, width), how.taken, how.given)
    padded = padded.split([own] * parts + [common] * parts)
    suffix = [part.view(*how.suffixes, width) for part in padded[:parts]]
    prefix = [part.view(*how.prefixes, width) for part in padded[parts:]]
    prefix_k, prefix_v = prefix[-2:]
    if queries is not None:
        suffix.insert(0, queries.view(prompts, classes, -1, heads, width).permute(0, 3, 1, 2, 4))
    q, k, v = suffix
    with without_autocast(states.device):
        mixed = _attend_suffixes(q, k, v, prefix_k, prefix_v, how.mask)  # (G, H, C, Q, w)
        if queries is not None:
            return mixed.permute(0, 2, 3, 1, 4).reshape(-1, heads * width)
        flat = mixed.reshape(-1, width)
        if common:
            shared = F.scaled_dot_product_attention(prefix[0], prefix_k, prefix_v, is_causal=True)
            flat = torch.cat([flat, shared.reshape(-1, width)])
        return _Packed.apply(flat, how.out).view(-1, heads * width)


def _attend_suffixes(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, mask: Tensor) -> Tensor:
    """(G, H, C, Q, w) of q (G, H, C, Q, w) over k, v (G, H, C, L, w) and a prefix (G, H, P, w), which is not copied."""
    scores = q @ k.transpose(-1, -2)  # (G, H, C, Q, L)
    shared, scale = prefix_k.shape[2], q.shape[-1] ** -0.5
    if not shared:
        return torch.add(mask, scores, alpha=scale).softmax(-1) @ v
    folded = q.reshape(*q.shape[:2], -1, q.shape[-1])  # (G, H, C Q, w)
    to_prefix = (folded @ prefix_k.transpose(-1, -2)).view(*q.shape[:-1], shared)
    weights = torch.add(mask, torch.cat([to_prefix, scores], -1), alpha=scale).softmax(-1)
    from_prefix, from_own = weights.split([shared, k.shape[-2]], -1)
    return from_own @ v + (from_prefix.flatten(2, 3) @ prefix_v).view_as(q)


def _product(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


class _Padded(torch.autograd.Function):
    """Padded copies of rows. What pads gets no gradient, so that the way back is a gather, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taken: Tensor, given: Tensor) -> Tensor:
        ctx.save_for_backward(given)
        return x.index_select(0, taken)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.index_select(0, *ctx.saved_tensors), None, None


class _Packed(torch.autograd.Function):
    """Rows of padded ones, each of which is taken at most once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor) -> Tensor:
        ctx.save_for_backward(out)
        ctx.count = len(x)
        return x.index_select(0, out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (out,) = ctx.saved_tensors
        return grad.new_zeros(ctx.count, grad.shape[-1]).index_copy_(0, out, grad), None
