"""From soft prompts to text features: CLIP's text tower, read at EOT.

Two encoders give the same numbers. `plain` runs CLIP's own transformer over all 77 positions of every prompt, as CoOp
does; it is the reference. `fast` (fast_text.py, beside this file) computes only what reaches the EOT position, and is
the default.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mocoop.clip.fast_text import FastTextTower
from mocoop.clip.openai import CLIP, CONTEXT_LENGTH
from mocoop.clip.prompts import PromptLayout

KINDS = ("fast", "plain")


class TextEncoder(nn.Module):
    """Encodes G soft prompts over C classes each.

    Args:
        clip_model: the CLIP whose text tower is used; it is shared, not copied.
        kind: "fast" or "plain".
        chunk: prompts (prompt x class) encoded at a time, the rest being recomputed in the backward pass; 0 chooses
            from the memory at hand. The plain encoder does not chunk.
    """

    def __init__(self, clip_model: CLIP, kind: str = "fast", chunk: int = 0):
        super().__init__()
        self.kind = kind
        self.clip_model = [clip_model]  # in a list, so that CLIP is not registered a second time
        self.tower = FastTextTower(clip_model, chunk)
        self.calls = 0

    def forward(self, contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout]) -> Tensor:
        """Unnormalised text features (G, C, D).

        Args:
            contexts: G tensors (n, width) with the context vectors of each prompt; None for a prompt without any.
            layouts: G layouts of C classes each. One layout may stand at several places.
        """
        self.calls += 1
        if self.kind == "plain":
            pairs = zip(contexts, layouts)
            return torch.stack([encode_plain(self.clip_model[0], ctx, layout) for ctx, layout in pairs])
        return self.tower(contexts, layouts)

    def halve_chunk(self) -> bool:
        """Halve the chunk after an out-of-memory error; False where it cannot get smaller."""
        return self.kind == "fast" and self.tower.halve_chunk()


def encode_plain(clip_model: CLIP, ctx: Tensor | None, layout: PromptLayout) -> Tensor:
    """Text features (C, D) of one soft prompt by CLIP's own transformer over all 77 positions (CoOp, TextEncoder)."""
    device, classes = layout.tokens.device, len(layout)
    rows = torch.arange(classes, device=device).repeat_interleave(CONTEXT_LENGTH)
    columns = torch.arange(CONTEXT_LENGTH, device=device).repeat(classes)
    ctx = None if ctx is None else ctx.unsqueeze(0)
    x = layout.embed(ctx, clip_model.token_embedding, rows, columns).view(classes, CONTEXT_LENGTH, -1)
    x = x.to(clip_model.dtype) + clip_model.positional_embedding.to(clip_model.dtype)  # (C, 77, width)
    x = clip_model.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
    x = clip_model.ln_final(x).to(clip_model.dtype)
    return x[torch.arange(classes, device=device), layout.lengths - 1] @ clip_model.text_projection
