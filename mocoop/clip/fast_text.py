"""CLIP's text tower without the work that cannot reach the result.

The tower is causal and read at EOT, so, exactly:
- positions after EOT never matter, and are not computed;
- the leading positions that all classes of a prompt share (SOT and the context before the class name) have the same
  states for every class: they are computed once per prompt, up to the block, if any, before which rows of each class's
  own are put in;
- in the last layer only the positions that are read are needed;
- what is left of all prompts is one packed batch of rows (packing.py): linear layers see no padding, and a block is as
  many operations for many prompts of many lengths as for one.
With more prompts than the memory holds, they are encoded in chunks that are computed again in the backward pass; the
gradients are the same.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mocoop.clip.backbone import Backbone
from mocoop.clip.chosen_prompts import Choice, make_choice
from mocoop.clip.packing import EOT, Attention, Change, Plan, make_plan
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block, autocast_dtype, held, layer_norm, without_autocast
from mocoop.clip.tower_parts import NOTHING, Rows, TowerParts

CPU_MEMORY_BUDGET = 1 << 30  # bytes of activations kept for the backward pass; more is no faster on a CPU
CUDA_MEMORY_SHARE = 0.4  # of the device's memory
KEPT_PLANS = {True: 256, False: 4}  # of passes with and without gradients
Contexts = Sequence[Tensor | None]
Layouts = Sequence[PromptLayout]


class FastTextTower:
    """Encodes soft prompts with the text tower of `clip_model`, which is shared, not copied. See `TextEncoder`.

    Attributes:
        chunk: prompts (prompt x class) encoded at a time; 0: as many as the memory holds.
    """

    def __init__(self, clip_model: Backbone, chunk: int = 0):
        self.clip_model = clip_model
        self.modules = [] if clip_model.opaque_text else list(clip_model.transformer.resblocks)
        self.chunk = chunk
        self.last_chunk = 1  # in the last pass
        self._plans: dict[bool, dict[tuple, tuple[Plan | Choice, Layouts]]] = {True: {}, False: {}}

    def __call__(
        self,
        contexts: Contexts,
        layouts: Layouts,
        parts: TowerParts = NOTHING,
        read: Sequence[int] = EOT,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Last states (G, C, R, W), after ln_final, of the positions that are read; of chosen prompts (n,) alone."""
        layouts, classes = list(layouts), layouts[0].lengths.shape[0]
        prompts = len(layouts) if chosen is None else len(chosen)
        size = self.chunk or self._auto_chunk(layouts)
        self.last_chunk = min(size, prompts * classes)
        if size >= prompts * classes:
            return self._encode(contexts, layouts, parts, read, chosen)
        order, at_once = torch.argsort(layouts[0].host.lengths, stable=True), max(1, size // classes)
        if chosen is not None:
            found = [self._in_chunks(contexts, layouts, parts, read, chosen, order.split(max(1, size // prompts)))]
        else:
            found = []
            for first in range(0, prompts, at_once):
                some = slice(first, first + at_once)
                own = parts.of_prompts(list(range(prompts))[some])
                found.append(self._in_chunks(contexts[some], layouts[some], own, read, None, order.split(size)))
        return torch.cat(found)[:, torch.argsort(order)]

    def _in_chunks(
        self,
        contexts: Contexts,
        layouts: Layouts,
        parts: TowerParts,
        read: Sequence[int],
        chosen: Tensor | None,
        classes: Sequence[Tensor],
    ) -> Tensor:
        """States of the classes of each chunk, one chunk after the other."""
        encoded = []
        for some in classes:
            own = [layout.of_classes(some) for layout in layouts]
            args = (contexts, own, parts.of_classes(some), read, chosen)
            if torch.is_grad_enabled():
                again = checkpoint(self._encode, *args, use_reentrant=False, preserve_rng_state=parts.drops_out)
                encoded.append(again)
            else:
                encoded.append(self._encode(*args))
        return torch.cat(encoded, dim=1)

    def halve_chunk(self) -> bool:
        """Halve the number of prompts per chunk; False if it is one already."""
        if self.chunk == 1:
            return False
        self.chunk = max(1, (self.chunk or self.last_chunk) // 2)
        return True

    def _encode(
        self, contexts: Contexts, layouts: Layouts, parts: TowerParts, read: Sequence[int], chosen: Tensor | None
    ) -> Tensor:
        """`__call__` in one chunk."""
        plan = self._plan(contexts, layouts, parts, read, chosen)
        x, how = self._embed(plan, contexts), plan.attention
        for index, module in enumerate(self.modules):
            block = Block(module, index, parts)
            if index in plan.changes:
                x, how = change_rows(x, plan.changes[index], parts.rows[index]), plan.changes[index].attention
            normed = block.ln_1(x)
            if module is not self.modules[-1]:
                x = block.finish(x, attend(block.queries_keys_values(normed), how), normed)
        own = normed.index_select(0, plan.ends)
        mixed = attend(block.keys_values(normed), plan.last, block.queries(own))
        x = block.finish(x.index_select(0, plan.ends), mixed, own)
        return layer_norm(self.clip_model.ln_final, "ln_final", parts)(x).view(*plan.shape, -1)

    def _embed(self, plan: Plan, contexts: Contexts) -> Tensor:
        """Input of the first block, (T, W)."""
        clip_model, dtype = self.clip_model, self.clip_model.dtype
        x = F.embedding(plan.tokens, clip_model.token_embedding.weight).to(dtype)
        if plan.put is None or len(plan.put):
            vectors = torch.cat([ctx for ctx in contexts if ctx is not None]).to(dtype)
            if plan.put is None:
                own = vectors.index_select(0, plan.context.clamp(min=0))
                x = torch.where((plan.context >= 0)[:, None], own, x)
            else:
                x = x.index_copy(0, plan.put, vectors.index_select(0, plan.context))
        return x + held(clip_model.positional_embedding, dtype).index_select(0, plan.positions)

    def _plan(
        self, contexts: Contexts, layouts: Layouts, parts: TowerParts, read: Sequence[int], chosen: Tensor | None
    ) -> Plan:
        """The plan of these prompts, or of those chosen among them; made once for the same shapes of what is put in."""
        count = 0 if chosen is None else len(chosen)
        device, share = layouts[0].tokens.device, not parts.drops_out
        dtype = self._computing_dtype(device)
        lengths = tuple(0 if ctx is None else len(ctx) for ctx in contexts)
        shapes = tuple((block, rows.how, rows.mix is None, rows.value.shape) for block, rows in parts.rows.items())
        key = (tuple(map(id, layouts)), lengths, shapes, share, tuple(read), count, device, dtype)
        kept, most = self._plans[torch.is_grad_enabled()], KEPT_PLANS[torch.is_grad_enabled()]
        if key not in kept:
            while len(kept) >= most:
                del kept[next(iter(kept))]
            heads = self.modules[0].attn.num_heads
            made: Plan | Choice
            if count:
                made = make_choice(layouts, lengths, count, heads, share, read)
            else:
                made = make_plan(layouts, lengths, parts.rows, heads, share, read)
            kept[key] = (made.to(device, dtype), layouts)  # the layouts, so that an id remains theirs
        found = kept[key][0]
        return found.plan_of(cast(Tensor, chosen)) if isinstance(found, Choice) else found

    def _computing_dtype(self, device: torch.device) -> torch.dtype:
        return autocast_dtype(device) or self.modules[0].attn.in_proj_weight.dtype

    def _auto_chunk(self, layouts: Layouts) -> int:
        """Prompts whose activations fit into the memory budget; the same on every run of one machine."""
        width, device = self.modules[0].ln_1.weight.shape[0], layouts[0].tokens.device
        budget = CPU_MEMORY_BUDGET
        if device.type == "cuda":
            budget = int(torch.cuda.get_device_properties(device).total_memory * CUDA_MEMORY_SHARE)
        # kept of a row by a block: the inputs of two LayerNorms; queries, keys and values, padded, the hidden layer
        per_row = 2 * self.clip_model.dtype.itemsize + 10 * self._computing_dtype(device).itemsize
        classes, prompts = layouts[0].lengths.shape[0], len(layouts)
        suffixes = sum(layout.count / classes - layout.prefix_length for layout in layouts) / prompts
        return max(1, int(budget / (len(self.modules) * width * per_row * suffixes)))


# --- what a block does to packed rows beside its linear layers: rows are put in, and attend ---------------------------


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
