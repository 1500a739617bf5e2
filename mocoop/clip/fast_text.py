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
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mocoop.clip.backbone import Backbone
from mocoop.clip.chosen_prompts import Choice, make_choice
from mocoop.clip.frozen_linear import autocast_dtype, held
from mocoop.clip.packed_attention import attend, change_rows
from mocoop.clip.packing import EOT, Plan, make_plan
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block
from mocoop.clip.tower_parts import NOTHING, TowerParts, with_weights

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
        layouts, classes = list(layouts), len(layouts[0])
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
        return with_weights(self.clip_model.ln_final, "ln_final.", parts.weights)(x).view(*plan.shape, -1)

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
        suffixes = sum(layout.count / len(layout) - layout.prefix_length for layout in layouts) / len(layouts)
        return max(1, int(budget / (len(self.modules) * width * per_row * suffixes)))
