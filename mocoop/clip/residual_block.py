"""CLIP's residual attention blocks in parts, for towers that compute only what reaches their result."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mocoop.clip.backbone import ResidualBlock
from mocoop.clip.frozen_linear import frozen_linear
from mocoop.clip.openai import is_quick_gelu
from mocoop.clip.tower_parts import TowerParts, with_weights


class Block:
    """One block of a tower, with what is put into it.

    Args:
        module: CLIP's block; it is not changed.
        index: its number in the tower.
    """

    def __init__(self, module: ResidualBlock, index: int, parts: TowerParts):
        self.module = cast(
            ResidualBlock, with_weights(cast(nn.Module, module), f"transformer.resblocks.{index}.", parts.weights)
        )
        self.index = index
        self.lora, self.adapter = parts.lora.get(index), parts.adapters.get(index)
        self.ln_1, self.ln_2 = self.module.ln_1, self.module.ln_2
        self.ls_1, self.ls_2 = getattr(module, "ls_1", _same), getattr(module, "ls_2", _same)  # open_clip's LayerScale

    @property
    def heads(self) -> int:
        return self.module.attn.num_heads

    def queries_keys_values(self, normed: Tensor) -> Tensor:
        """(..., 3 W) of normalised states (..., W)."""
        attn = self.module.attn
        out = frozen_linear(normed, attn.in_proj_weight, attn.in_proj_bias)
        return out if self.lora is None else out + torch.cat([self.lora.update(i, normed) for i in range(3)], -1)

    def queries(self, normed: Tensor) -> Tensor:
        """(..., W) of normalised states (..., W)."""
        attn, width = self.module.attn, normed.shape[-1]
        out = frozen_linear(normed, attn.in_proj_weight, attn.in_proj_bias, slice(width))
        return out if self.lora is None else out + self.lora.update(0, normed)

    def keys_values(self, normed: Tensor) -> Tensor:
        """(..., 2 W) of normalised states (..., W)."""
        attn, width = self.module.attn, normed.shape[-1]
        out = frozen_linear(normed, attn.in_proj_weight, attn.in_proj_bias, slice(width, None))
        return out if self.lora is None else out + torch.cat([self.lora.update(i, normed) for i in (1, 2)], -1)

    def by_head(self, x: Tensor) -> Tensor:
        """Queries, keys or values (..., W) as (..., H, w)."""
        return x.unflatten(-1, (self.heads, -1))

    def finish(self, x: Tensor, mixed: Tensor, normed: Tensor) -> Tensor:
        """The rest of the block: output projection, MLP and adapter, on states, mixed values and ln_1's output."""
        out, mlp = self.module.attn.out_proj, self.module.mlp
        x = x + self.ls_1(frozen_linear(mixed, out.weight, out.bias))
        hidden = frozen_linear(self.ln_2(x), mlp.c_fc.weight, mlp.c_fc.bias)
        hidden = quick_gelu(hidden) if is_quick_gelu(mlp.gelu) else mlp.gelu(hidden)
        x = x + self.ls_2(frozen_linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias))
        return x if self.adapter is None else x + self.adapter(normed)

    def plain(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The whole block on states (N, L, W) by CLIP's own modules; the reference."""
        normed, attn = self.ln_1(x), self.module.attn
        if self.lora is None:
            y = normed if attn.batch_first else normed.transpose(0, 1)
            mixed = attn(y, y, y, need_weights=False, attn_mask=mask)[0]
            mixed = mixed if attn.batch_first else mixed.transpose(0, 1)
        else:
            q, k, v = (self.by_head(t).transpose(1, 2) for t in self.queries_keys_values(normed).chunk(3, -1))
            scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5  # (N, H, L, L)
            scores = scores if mask is None else scores + mask
            mixed = attn.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        added = 0 if self.adapter is None else self.adapter(normed)
        x = x + self.ls_1(mixed)
        return x + self.ls_2(self.module.mlp(self.ln_2(x))) + added


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask: q (B, Q, H, w) over k, v (B, N, H, w), to (B, Q, H * w)."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), which is silu(1.702 x) / 1.702."""
    return _QuickGELU.apply(x) if torch.is_grad_enabled() and x.requires_grad else _by_silu(x)[0]


def _by_silu(x: Tensor) -> tuple[Tensor, Tensor]:
    scaled = x * 1.702
    return F.silu(scaled).div_(1.702), scaled


class _QuickGELU(torch.autograd.Function):
    """Keeps one tensor for the backward pass, where plain operations keep three."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out, scaled = _by_silu(x)
        ctx.save_for_backward(scaled)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.ops.aten.silu_backward(grad, *ctx.saved_tensors)


def _same(x: Tensor) -> Tensor:
    return x
