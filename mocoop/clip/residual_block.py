"""CLIP's residual attention blocks in parts, for towers that compute only what reaches their result.

Their linear layers are frozen: weights are held in the precision that computes, and on a CPU the fastest matrix product
is taken. Autocast would cast a frozen weight in every call; here it is cast once. On a CPU, PyTorch hands fp32 products
to MKL, which leaves half of an AMD processor's vector units idle; oneDNN, which PyTorch holds as well, does not. Both
round alike in size, not bit by bit.
"""

import contextlib
import platform
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from mocoop.clip.backbone import ResidualBlock
from mocoop.clip.openai import is_quick_gelu
from mocoop.clip.tower_parts import TowerParts, with_weights

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_held: WeakIdKeyDictionary = WeakIdKeyDictionary()  # {weight: {dtype: (its state, the weight in that dtype)}}


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


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Attention of q (B, Q, H, w) over k, v (B, N, H, w), to (B, Q, H * w).

    Args:
        seen: (Q, N) or (B, 1, Q, N), which positions each query attends to; None: all, or those up to its own.
    """
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, seen, is_causal=is_causal).transpose(1, 2).flatten(2)


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


# --- linear layers whose weights are frozen ------------------------------------------------------------------------


def frozen_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, part: slice = slice(None)) -> Tensor:
    """x (..., in) @ weight (out, in)^T + bias (out,); the gradient reaches x alone where the weights are frozen.

    Args:
        part: which of the outputs are wanted, all by default.
    """
    if dtype := autocast_dtype(x.device):
        x, weight, bias = x.to(dtype), held(weight, dtype), None if bias is None else held(bias, dtype)
    weight, bias = weight[part], None if bias is None else bias[part]
    if not _by_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    product = _FrozenLinear.apply if torch.is_grad_enabled() and x.requires_grad else _product
    return product(rows, weight, bias).view(*x.shape[:-1], -1)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What autocast computes in on a device; None without it."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return None


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A context in which operations compute in the precision of what they are given."""
    return contextlib.nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)


def held(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in another precision; a frozen one is cast once, until it changes or moves. A slice is cast anew."""
    if weight.dtype == dtype:
        return weight
    if weight.requires_grad or weight._is_view():
        return weight.to(dtype)
    state, of_weight = (weight._version, weight.data_ptr(), weight.device), _held.setdefault(weight, {})
    if dtype not in of_weight or of_weight[dtype][0] != state:
        of_weight[dtype] = (state, weight.detach().to(dtype))
    return of_weight[dtype][1]


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return _product(grad, weight.t(), None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    learns = weight.requires_grad or (bias is not None and bias.requires_grad)
    return (
        _X86
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (learns and torch.is_grad_enabled())
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.onnx.is_in_onnx_export()
    )
