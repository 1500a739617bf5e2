"""Products with frozen weights equal PyTorch's, and their gradients."""

import pytest
import torch
from torch.nn import functional as F

from mocoop.clip.residual_block import frozen_linear


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7), (1, 7), (0, 7)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equal_to_linear(shape, with_bias):
    torch.manual_seed(0)
    x, weight = torch.randn(*shape, requires_grad=True), torch.randn(11, 7)
    bias = torch.randn(11) if with_bias else None
    expected, found = F.linear(x, weight, bias), frozen_linear(x, weight, bias)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * upstream).sum(), x)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_weights_that_learn_get_their_gradient():
    x, weight, bias = torch.randn(5, 7), torch.randn(11, 7, requires_grad=True), torch.randn(11, requires_grad=True)
    frozen_linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(11, -1))
    assert bias.grad.tolist() == [5.0] * 11


def test_slices_and_transposed_inputs():
    weight, x = torch.randn(12, 7), torch.randn(7, 5).t()
    torch.testing.assert_close(frozen_linear(x, weight[4:8]), F.linear(x, weight[4:8]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_pytorchs_own(dtype):
    x, weight = torch.randn(5, 7, dtype=dtype), torch.randn(11, 7, dtype=dtype)
    assert torch.equal(frozen_linear(x, weight), F.linear(x, weight))


def test_autocast_is_heeded():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert frozen_linear(torch.randn(5, 7), torch.randn(11, 7)).dtype == torch.bfloat16


def test_the_result_may_be_changed_in_place():
    x, weight = torch.randn(2, 5, 7, requires_grad=True), torch.randn(11, 7)
    found = torch.autograd.grad(frozen_linear(x, weight).mul_(2.0).sum(), x)[0]
    torch.testing.assert_close(found, 2.0 * weight.sum(0).expand_as(x))
