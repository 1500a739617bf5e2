"""The parts of CLIP's residual attention blocks, for towers that compute only what reaches their result."""

from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.frozen_linear import frozen_linear
from mocoop.clip.openai import clip_model as openai_model


def attention_inputs(block: nn.Module, x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (..., H, w) of normalised states x (..., W); queries of others where given."""
    attention = block.attn
    weight, bias, heads = attention.in_proj_weight, attention.in_proj_bias, attention.num_heads
    if queries is None:
        q, k, v = frozen_linear(x, weight, bias).chunk(3, dim=-1)
    else:
        width = x.shape[-1]
        q = frozen_linear(queries, weight[:width], bias[:width])
        k, v = frozen_linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
    return tuple(part.unflatten(-1, (heads, -1)) for part in (q, k, v))


def after_attention(block: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
    """The rest of a block: output projection and MLP, on states x and mixed values (..., W)."""
    out, expand, contract = block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj
    x = x + frozen_linear(mixed, out.weight, out.bias)
    hidden = frozen_linear(block.ln_2(x), expand.weight, expand.bias)
    if isinstance(block.mlp.gelu, openai_model.QuickGELU):
        # x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: one tensor kept for the backward pass instead of three
        hidden = F.silu(hidden.mul_(1.702)).div_(1.702)
    else:
        hidden = block.mlp.gelu(hidden)
    return x + frozen_linear(hidden, contract.weight, contract.bias)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask: q (B, Q, H, w) over k, v (B, N, H, w), to (B, Q, H * w)."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
