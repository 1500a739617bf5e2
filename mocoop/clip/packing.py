"""Prompts of differing lengths in one packed batch of rows, without padding: where each row comes from and goes to.

G prompts over C classes are G x C sequences. The leading positions that all classes of a prompt share, its *prefix*,
stand once; what is left of each sequence, its *suffix*, stands behind all prefixes:

    rows = [prefix of prompt 0, of prompt 1, ...; suffix of (0, class 0), (0, class 1), ..., (G - 1, class C - 1)]

Linear layers see these rows alone. Attention is computed per head on padded copies, (G, H, C, L, w) of suffixes and
(G, H, P, w) of prefixes, which one gather makes and one gather takes back. All of it depends on names alone: a `Plan`
is made once, on the CPU, and moved to the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mocoop.clip.frozen_linear import without_autocast
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.tower_parts import Rows

EOT = (-1,)


# --- a plan -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """How the rows of one stretch of blocks attend.

    Attributes:
        taken: (N,) the place in (T, n, H) of each row of the padded copies, where n are queries, keys and values, or
            in the last block keys and values alone: n (G, H, C, L), then n (G, H, P).
        given: (T n H,) the place in the padded copies of each row's heads: the way back.
        out: (T H,) the place in [(G, H, C, L), (G, H, P)] of what each head of a row is given.
        mask: (G or 1, 1, 1 or C, Q, P + L), added to the scores of Q queries of each suffix.
        suffixes, prefixes: the shapes (G, H, C, L) and (G, H, P).
    """

    taken: Tensor
    given: Tensor
    out: Tensor
    mask: Tensor
    suffixes: tuple[int, int, int, int]
    prefixes: tuple[int, int, int]


@dataclass(frozen=True)
class Change:
    """The rows before a block, made of the T rows so far and of rows (G or 1, C or 1, n, W) that are put in.

    Attributes:
        source: (T',) the row of [rows so far, rows put in] that each new row is; None where all but some stay.
        replaced, by: then these (M,), and the rows that are put in at them (M,); None for all of those in order.
        mixed: (G, C or 1, n) the rows so far that what is put in is mixed with; None without a mix.
        attention: of the blocks from here on.
    """

    source: Tensor | None
    replaced: Tensor | None
    by: Tensor | None
    mixed: Tensor | None
    attention: Attention


@dataclass(frozen=True)
class Plan:
    """All that a pass over some prompts needs to know beside its weights.

    Attributes:
        tokens, positions: (T,) of the first block's rows.
        put, context: which of them have a context vector (M,), and which of all prompts' vectors, one after the other,
            that is (M,); or without `put` this for all rows (T,), -1 for those with a token.
        attention: of the first blocks; changes: {block: what changes before it}.
        last: of the last block; ends: (G C R,) its rows that are read.
        shape: (G, C, R).
    """

    tokens: Tensor
    positions: Tensor
    put: Tensor | None
    context: Tensor
    attention: Attention
    changes: Mapping[int, Change]
    last: Attention
    ends: Tensor
    shape: tuple[int, int, int]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Plan":
        """On a device, its masks in the precision that attention computes in."""
        return _moved(self, device, dtype)


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _moved(item, device, dtype) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device, dtype) for f in fields(value)})
    return value


def make_plan(
    layouts: Sequence[PromptLayout],
    context_lengths: Sequence[int],
    rows: Mapping[int, Rows],
    heads: int,
    share: bool = True,
    read: Sequence[int] = EOT,
) -> Plan:
    """The plan of G prompts, on the CPU.

    Args:
        context_lengths: of each prompt's context vectors. rows: {block: what is put in}; of these only shapes count.
        heads: of the tower.
        share: whether classes share the leading positions.
        read: the places that are read in the last block: 0 is SOT, -1 EOT, -2 the one before it.
    """
    packed = Packed.of_layouts(layouts, share)
    prompts, classes, positions = packed.owners()
    kinds = list({id(layout): layout for layout in layouts}.values())
    kind = torch.tensor([next(i for i, one in enumerate(kinds) if one is layout) for layout in layouts])[prompts]
    tokens, ctx_index = (torch.stack([getattr(one.host, name) for one in kinds]) for name in ("tokens", "ctx_index"))
    ctx = ctx_index[kind, classes, positions]
    put = (ctx >= 0).nonzero().squeeze(1)
    starts = _starts(torch.tensor(context_lengths))
    context, first = starts[prompts[put]] + ctx[put], packed
    changes = {}
    for block, own in sorted(rows.items()):
        source, mixed, changed = packed.changed(own)
        attention = attention_of(changed, heads)
        if own.how == "replace" and torch.equal(changed.prefix, packed.prefix):  # each row stays in its place
            replaced = (source >= len(packed)).nonzero().squeeze(1)
            by = source[replaced] - len(packed)
            is_all = torch.equal(by, torch.arange(len(by)))
            changes[block] = Change(None, replaced, None if is_all else by, mixed, attention)
        else:
            changes[block] = Change(source, None, None, mixed, attention)
        packed = changed
    ends, last = last_attention(packed, heads, read)
    return Plan(
        tokens=tokens[kind, classes, positions],
        positions=positions,
        put=put,
        context=context,
        attention=changes[0].attention if 0 in changes else attention_of(first, heads),
        changes=changes,
        last=last,
        ends=ends,
        shape=(*packed.total.shape, len(read)),
    )


@dataclass(frozen=True)
class Choice:
    """What the plan of n prompts is made of that are chosen, on the device, among E that are padded to one shape.

    Attributes:
        prefix, suffix: (E, P, 3), (E, S, 3): token, position and context row (-1: none) of each row.
        masks, last_masks: (E or 1, 1, 1, L, P + L), (E or 1, 1, C, R, P + L) for `Attention.mask`.
        ends: (E, C R) rows that are read, counted from a prompt's first suffix.
        starts: (n, 1) the row of each of n prompts' first suffix.
        plan: of n prompts of that shape.
    """

    prefix: Tensor
    suffix: Tensor
    masks: Tensor
    last_masks: Tensor
    ends: Tensor
    starts: Tensor
    plan: Plan

    def to(self, device: torch.device, dtype: torch.dtype) -> "Choice":
        return _moved(self, device, dtype)

    def plan_of(self, chosen: Tensor) -> Plan:
        """Of some prompts (n,), on the device; nothing of them is read by the host."""

        def of_chosen(masks: Tensor) -> Tensor:
            return masks if len(masks) == 1 else masks.index_select(0, chosen)

        rows = [table.index_select(0, chosen).flatten(0, 1) for table in (self.prefix, self.suffix)]
        tokens, positions, context = torch.cat(rows).unbind(1)
        return replace(
            self.plan,
            tokens=tokens,
            positions=positions,
            put=None,
            context=context,
            attention=replace(self.plan.attention, mask=of_chosen(self.masks)),
            last=replace(self.plan.last, mask=of_chosen(self.last_masks)),
            ends=(self.starts + self.ends.index_select(0, chosen)).flatten(),
        )


def make_choice(
    layouts: Sequence[PromptLayout],
    context_lengths: Sequence[int],
    count: int,
    heads: int,
    share: bool,
    read: Sequence[int] = EOT,
) -> Choice:
    """The choice of `count` among E prompts, on the CPU; other arguments as of `make_plan`, `read` behind prefixes."""
    own = Packed.of_layouts(layouts, share)
    shared, suffix = int(own.prefix.max()), own.suffix.max(0).values  # (C,)
    total = (shared + suffix)[None]
    shape = Packed(torch.full((count,), shared), total.expand(count, -1))
    _, classes, position = Packed(shape.prefix[:1], total).owners()  # of one prompt, (P + S,)
    prefix = own.prefix[:, None]
    within = torch.minimum(position, prefix - 1).clamp(min=0)  # what pads repeats a prefix's, or a sequence's, last
    behind = torch.minimum(prefix + position - shared, own.total[:, classes] - 1)
    position = torch.where(position < shared, within, behind)  # (E, P + S)
    tokens, ctx_index = (torch.stack([getattr(one.host, name) for one in layouts]) for name in ("tokens", "ctx_index"))
    prompt = _grid(0, len(layouts), 2)
    ctx = ctx_index[prompt, classes, position]
    ctx = torch.where(ctx < 0, ctx, ctx + _starts(torch.tensor(context_lengths))[:, None])
    tables = torch.stack([tokens[prompt, classes, position], position, ctx], -1)
    read_at = own.total[..., None] + torch.tensor(read)  # (E, C, R)
    ends, last = last_attention(shape, heads, read)
    longest = int(suffix.max())
    return Choice(
        prefix=tables[:, :shared],
        suffix=tables[:, shared:],
        masks=_causal_mask(own, prefix[..., None] + torch.arange(longest), longest, shared),
        last_masks=_causal_mask(own, read_at, longest, shared),
        ends=(_starts(suffix)[:, None] + read_at - prefix[..., None]).flatten(1),
        starts=(count * shared + int(suffix.sum()) * torch.arange(count))[:, None],
        plan=Plan(
            position,
            position,
            None,
            position,
            attention_of(shape, heads),
            {},
            last,
            ends,
            (count, *own.total.shape[1:], len(read)),
        ),
    )


# --- packed rows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """Lengths of G x C sequences, of which `prefix` (G,) leading positions are shared, `total` (G, C)."""

    prefix: Tensor
    total: Tensor

    @classmethod
    def of_layouts(cls, layouts: Sequence[PromptLayout], share: bool) -> "Packed":
        prefix = torch.tensor([layout.prefix_length if share else 0 for layout in layouts])
        return cls(prefix, torch.stack([layout.host.lengths for layout in layouts]))

    @property
    def suffix(self) -> Tensor:
        return self.total - self.prefix[:, None]  # (G, C)

    def __len__(self) -> int:
        return int(self.prefix.sum() + self.suffix.sum())

    def owners(self) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt, class and position of each row, (T,); a prefix counts as class 0's."""
        prompts, classes = self.total.shape
        lengths = torch.cat([self.prefix, self.suffix.flatten()])
        prompt = torch.cat([torch.arange(prompts), torch.arange(prompts).repeat_interleave(classes)])
        class_ = torch.cat([torch.zeros(prompts, dtype=torch.long), torch.arange(classes).repeat(prompts)])
        first = torch.cat([torch.zeros_like(self.prefix), self.prefix.repeat_interleave(classes)])
        within = torch.arange(len(self)) - _starts(lengths).repeat_interleave(lengths)
        prompt, class_, first = (value.repeat_interleave(lengths) for value in (prompt, class_, first))
        return prompt, class_, first + within

    def row_of(self, prompts: Tensor, classes: Tensor, positions: Tensor) -> Tensor:
        """The row of each position, by broadcasting."""
        starts = _starts(torch.cat([self.prefix, self.suffix.flatten()]))
        prefix, suffix = starts[: len(self.prefix)], starts[len(self.prefix) :].view_as(self.total)
        shared = positions < self.prefix[prompts]
        own = suffix[prompts, classes] + positions - self.prefix[prompts]
        return torch.where(shared, prefix[prompts] + positions, own)

    def changed(self, rows: Rows) -> tuple[Tensor, Tensor | None, "Packed"]:
        """The source of each new row, the rows to mix with (see `Change`), and the lengths from then on."""
        prompts, classes = self.total.shape
        (of_prompts, of_classes), count = rows.value.shape[:-2] if rows.value.dim() == 4 else (1, 1), len(rows)
        prefix, total = self.prefix, self.total
        if rows.how == "insert":
            prefix, total = torch.where(prefix > 0, prefix + count, 0), total + count
        if of_classes > 1:
            prefix = prefix.clamp(max=1)
        new, mixed = Packed(prefix, total), None
        if rows.mix is not None:
            is_shared = of_classes == 1 and bool((self.prefix > count).all())
            of_prompts, of_classes = prompts, 1 if is_shared else classes
            mixed = self.row_of(_grid(0, prompts, 3), _grid(1, of_classes, 3), 1 + _grid(2, count, 3))
        prompt, class_, position = new.owners()
        is_put = (position >= 1) & (position <= count)
        before = position if rows.how == "replace" else (position - count * (position > 0)).clamp(min=0)
        put_in = (prompt % of_prompts * of_classes + class_ % of_classes) * count + position - 1
        return torch.where(is_put, len(self) + put_in, self.row_of(prompt, class_, before)), mixed, new


def attention_of(packed: Packed, heads: int) -> Attention:
    """Of all rows: queries, keys and values."""
    positions = packed.prefix[:, None, None] + torch.arange(int(packed.suffix.max()))  # (G, 1, L)
    return _attention(packed, heads, 3, positions)


def last_attention(packed: Packed, heads: int, read: Sequence[int]) -> tuple[Tensor, Attention]:
    """The rows that are read, (G C R,), and of all rows keys and values."""
    places = torch.tensor(read)
    positions = torch.where(places < 0, packed.total[..., None] + places, places)  # (G, C, R)
    prompts, classes = packed.total.shape
    ends = packed.row_of(_grid(0, prompts, 3), _grid(1, classes, 3), positions)
    return ends.flatten(), _attention(packed, heads, 2, positions)


def _attention(packed: Packed, heads: int, parts: int, positions: Tensor) -> Attention:
    """Of the last `parts` of queries, keys and values of all rows, for queries at positions (G, C or 1, Q)."""
    (prompts, classes), longest = packed.total.shape, int(packed.suffix.max())
    shared = int(packed.prefix.max())
    within = torch.minimum(torch.arange(longest), packed.suffix[..., None] - 1)  # what pads repeats the last row
    suffix = packed.row_of(_grid(0, prompts, 3), _grid(1, classes, 3), packed.prefix[:, None, None] + within)
    within = torch.minimum(torch.arange(shared), packed.prefix[:, None] - 1).clamp(min=0)
    prefix = packed.row_of(_grid(0, prompts, 2), torch.tensor(0), within)  # (G, P)
    out = _padded_places(packed, heads, longest, shared)  # (T, H)
    own, common = heads * suffix.numel(), heads * prefix.numel()
    part = torch.arange(parts)
    shift = torch.where(out[:, :1] < own, part * own, part * common + (parts - 1) * own)  # (T, n)
    taken = [
        ((suffix[:, None] * parts + _grid(0, parts, 5)) * heads + _grid(1, heads, 4)).flatten(),  # (n, G, H, C, L)
        ((prefix[:, None] * parts + _grid(0, parts, 4)) * heads + _grid(1, heads, 3)).flatten(),  # (n, G, H, P)
    ]
    return Attention(
        taken=torch.cat(taken).int(),
        given=(out[:, None] + shift[..., None]).flatten().int(),
        out=out.flatten(),
        mask=_causal_mask(packed, positions, longest, shared),
        suffixes=(prompts, heads, classes, longest),
        prefixes=(prompts, heads, shared),
    )


def _padded_places(packed: Packed, heads: int, longest: int, shared: int) -> Tensor:
    """Where each head of each row stands in [(G, H, C, L), (G, H, P)], (T, H)."""
    prompts, classes = packed.total.shape
    prompt, class_, position = (owner[:, None] for owner in packed.owners())
    head, behind = torch.arange(heads), position - packed.prefix[prompt]
    own = ((prompt * heads + head) * classes + class_) * longest + behind
    common = prompts * heads * classes * longest + (prompt * heads + head) * shared + position
    return torch.where(behind < 0, common, own)


def _causal_mask(packed: Packed, positions: Tensor, longest: int, shared: int) -> Tensor:
    """0 where a query at positions (G, C or 1, Q) sees a key, else -inf: (G or 1, 1, C or 1, Q, P + L)."""
    key, prefix, query = torch.arange(shared + longest), packed.prefix[:, None, None, None], positions[..., None]
    is_seen = torch.where(key < shared, (key < prefix) & (key <= query), prefix + key - shared <= query)
    mask = torch.zeros(is_seen.shape).masked_fill(~is_seen, float("-inf"))[:, None]
    return mask[:1] if bool((mask == mask[:1]).all()) else mask


def _starts(lengths: Tensor) -> Tensor:
    return lengths.cumsum(0) - lengths


def _grid(axis: int, count: int, axes: int) -> Tensor:
    """0, 1, ... along one of some axes."""
    return torch.arange(count).view([-1 if i == axis else 1 for i in range(axes)])


# --- computing --------------------------------------------------------------------------------------------------------


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
