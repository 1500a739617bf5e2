"""Prompts of differing lengths side by side, without padding: suffixes of classes, packed by length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mocoop.clip.prompts import PromptLayout
from mocoop.clip.tower_parts import replace_rows


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


def make_buckets(layout: PromptLayout, classes: Tensor, start: int) -> list[Bucket]:
    """Buckets of classes that are ordered by length."""
    lengths, counts = torch.unique_consecutive(layout.lengths[classes], return_counts=True)
    members = classes.split(counts.tolist())
    return [Bucket(own, start, length - start) for length, own in zip(lengths.tolist(), members)]


def stacks(layouts: Sequence[PromptLayout]) -> list[list[int]]:
    """Places of the layouts that can be encoded in one batch."""
    found: dict[tuple, list[int]] = {}
    for place, layout in enumerate(layouts):
        found.setdefault(layout.signature, []).append(place)
    return list(found.values())


def order_by_length(layout: PromptLayout) -> tuple[Tensor, Tensor]:
    """Classes by the length of their prompts, and where each class stands in that order."""
    order = torch.argsort(layout.lengths, stable=True)
    return order, torch.argsort(order)


def last_rows(buckets: Sequence[Bucket], groups: int, device: torch.device) -> Tensor:
    """Rows of the packed tokens that hold EOT, (G * n,)."""
    rows, offset = [], 0
    for bucket in buckets:
        count = groups * len(bucket.classes)
        rows.append(offset + bucket.length * torch.arange(1, count + 1) - 1)
        offset += count * bucket.length
    return torch.cat(rows).to(device)


def unpacked(x: Tensor, buckets: Sequence[Bucket], groups: int) -> Iterator[tuple[Bucket, Tensor]]:
    """Each bucket with its rows (G, n, L, W) of the packed tokens x (T, W)."""
    sizes = [groups * len(bucket.classes) * bucket.length for bucket in buckets]
    for bucket, part in zip(buckets, x.split(sizes)):
        yield bucket, part.view(groups, len(bucket.classes), bucket.length, -1)


def with_replaced_rows(x: Tensor, buckets: Sequence[Bucket], rows: Tensor) -> Tensor:
    """Packed tokens x (T, W) with the positions behind SOT replaced by rows (G, C or 1, n, W)."""
    parts = []
    for bucket, part in unpacked(x, buckets, len(rows)):
        own = rows if rows.shape[1] == 1 else rows[:, bucket.classes]
        parts.append(replace_rows(part, 1 - bucket.start, own).flatten(0, 2))
    return torch.cat(parts)


def with_own_prefix(x: Tensor, buckets: Sequence[Bucket], prefix: Tensor) -> tuple[Tensor, list[Bucket]]:
    """Packed tokens x (T, W) with a copy, for every class, of its prompt's positions behind SOT, (G, P - 1, W)."""
    parts, grown = [], []
    for bucket, part in unpacked(x, buckets, len(prefix)):
        copies = prefix.unsqueeze(1).expand(-1, len(bucket.classes), -1, -1)  # (G, n, P - 1, W)
        parts.append(torch.cat([copies, part], dim=2).flatten(0, 2))
        grown.append(replace(bucket, start=1, length=bucket.length + prefix.shape[1]))
    return torch.cat(parts), grown


def attend_suffixes(q, k, v, prefix_k, prefix_v, buckets: Sequence[Bucket], only_last: bool) -> Tensor:
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
