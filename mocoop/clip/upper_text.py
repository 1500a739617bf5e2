"""A text tower in two halves: the states below a block, computed once for all prompts, and what lies above it.

For methods that change the upper blocks alone, and encode in each step other classes, which are chosen on the device.
The tower is causal, so that prompts are cut behind the longest of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block, attend, held
from mocoop.clip.tower_parts import NOTHING, TowerParts, with_weights


@dataclass(frozen=True)
class UpperText:
    """The blocks of CLIP's text tower from `first` on, which counts from 0.

    Attributes:
        fast: compute in the last block only the position that is read; else by CLIP's own modules over all of them.
    """

    clip_model: Backbone
    first: int
    fast: bool = True

    @torch.no_grad()
    def below(self, layout: PromptLayout) -> Tensor:
        """States (C, L, W) before the first block of prompts without context, L positions of the longest of them."""
        clip_model, length = self.clip_model, int(layout.host.lengths.max())
        tokens, dtype = layout.tokens[:, :length], clip_model.dtype
        x = F.embedding(tokens, clip_model.token_embedding.weight).to(dtype)
        x = x + held(clip_model.positional_embedding, dtype)[:length]
        with torch.autocast(x.device.type, enabled=False):
            for index, module in enumerate(clip_model.transformer.resblocks[: self.first]):
                x = Block(module, index, NOTHING).plain(x, causal(x))
        return x

    def features(self, below: Tensor, ends: Tensor, parts: TowerParts) -> Tensor:
        """Unnormalised features (K, D) of K prompts.

        Args:
            below: (K, L, W) of `below`. ends: (K,) the position of each one's EOT.
        """
        clip_model, x = self.clip_model, below
        at_end = ends[:, None, None].expand(-1, 1, x.shape[-1])
        blocks = list(enumerate(clip_model.transformer.resblocks))[self.first :]
        for index, module in blocks:
            block = Block(module, index, parts)
            if not self.fast:
                x = block.plain(x, causal(x))
                continue
            normed = block.ln_1(x)
            if index < blocks[-1][0]:
                q, k, v = (block.by_head(t) for t in block.queries_keys_values(normed).chunk(3, -1))
                x = block.finish(x, attend(q, k, v, is_causal=True), normed)
                continue
            own = normed.gather(1, at_end)
            k, v = (block.by_head(t) for t in block.keys_values(normed).chunk(2, -1))
            seen = (torch.arange(x.shape[1], device=x.device) <= ends[:, None])[:, None, None]  # (K, 1, 1, L)
            x = block.finish(x.gather(1, at_end), attend(block.by_head(block.queries(own)), k, v, seen), own)
        x = x if self.fast else x.gather(1, at_end)
        x = with_weights(clip_model.ln_final, "ln_final.", parts.weights)(x[:, 0])
        return clip_model.project_text(x, parts.weights)


def causal(x: Tensor) -> Tensor:
    """The mask (L, L) of states (K, L, W)."""
    return torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
