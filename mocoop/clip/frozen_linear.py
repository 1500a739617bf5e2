"""Linear layers whose weights are frozen, by the fastest matrix product of the machine.

On a CPU, PyTorch hands fp32 products to MKL, which leaves half of an AMD processor's vector units idle; oneDNN, which
PyTorch holds as well, does not. Both round alike in size, not bit by bit.
"""

import platform

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_X86 = platform.machine().lower() in ("x86_64", "amd64")


def frozen_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in) @ weight (out, in)^T + bias (out,); the gradient reaches x alone where the weights are frozen."""
    if not _by_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    product = _FrozenLinear.apply if torch.is_grad_enabled() and x.requires_grad else _product
    return product(rows, weight, bias).view(*x.shape[:-1], -1)


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
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
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.onnx.is_in_onnx_export()
    )
