"""Linear layers whose weights are frozen: weights are held in the precision that computes, and on a CPU the fastest
matrix product is taken.

Autocast would cast a frozen weight in every call; here it is cast once. On a CPU, PyTorch hands fp32 products to MKL,
which leaves half of an AMD processor's vector units idle; oneDNN, which PyTorch holds as well, does not. Both round
alike in size, not bit by bit.
"""

import contextlib
import platform
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_held: WeakIdKeyDictionary = WeakIdKeyDictionary()  # {weight: {dtype: (its state, the weight in that dtype)}}


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
