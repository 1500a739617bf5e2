"""Plans of prompts that are chosen on the device: which ones, the host does not know.

Of E prompts each is padded to one shape, so that the rows, masks and ends of any n of them are looked up in tables by
their numbers. What pads stands behind what matters in a causal tower, and is masked where it is a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mocoop.clip.packing import EOT, Packed, Plan, along, attention_of, causal_mask, last_attention, moved, starts_of
from mocoop.clip.prompts import PromptLayout


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
        return moved(self, device, dtype)

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
    prompt = along(0, len(layouts), 2)
    ctx = ctx_index[prompt, classes, position]
    ctx = torch.where(ctx < 0, ctx, ctx + starts_of(torch.tensor(context_lengths))[:, None])
    tables = torch.stack([tokens[prompt, classes, position], position, ctx], -1)
    read_at = own.total[..., None] + torch.tensor(read)  # (E, C, R)
    ends, last = last_attention(shape, heads, read)
    longest = int(suffix.max())
    return Choice(
        prefix=tables[:, :shared],
        suffix=tables[:, shared:],
        masks=causal_mask(own, prefix[..., None] + torch.arange(longest), longest, shared),
        last_masks=causal_mask(own, read_at, longest, shared),
        ends=(starts_of(suffix)[:, None] + read_at - prefix[..., None]).flatten(1),
        starts=(count * shared + int(suffix.sum()) * torch.arange(count))[:, None],
        plan=Plan(
            tokens=position,  # rows and masks are filled in by `plan_of`
            positions=position,
            put=None,
            context=position,
            attention=attention_of(shape, heads),
            changes={},
            last=last,
            ends=ends,
            shape=(count, own.total.shape[1], len(read)),
        ),
    )
