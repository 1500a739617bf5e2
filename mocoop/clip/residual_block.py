"""CLIP's residual attention blocks in parts, for towers that compute only what reaches their result."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mocoop.clip.frozen_linear import frozen_linear
from mocoop.clip.openai import is_quick_gelu
from mocoop.clip.tower_parts import TowerParts


class Block:
    """One block of a tower, with what is put into it.

    Args:
        module: CLIP's block; it is not changed.
        index: its number in the tower.
    """

    def __init__(self, module: nn.Module, index: int, parts: TowerParts):
        self.module, self.index = module, index
        self.lora, self.adapter = parts.lora.get(index), parts.adapters.get(index)
        self.ln_1 = layer_norm(module.ln_1, f"transformer.resblocks.{index}.ln_1", parts)
        self.ln_2 = layer_norm(module.ln_2, f"transformer.resblocks.{index}.ln_2", parts)
        same = nn.Identity()
        self.ls_1, self.ls_2 = getattr(module, "ls_1", same), getattr(module, "ls_2", same)  # open_clip's LayerScale

    @property
    def heads(self) -> int:
        return self.module.attn.num_heads

    def attention_inputs(self, normed: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., H, w) of normalised states (..., W); queries of others if given."""
        weight, bias = self.module.attn.in_proj_weight, self.module.attn.in_proj_bias
        if queries is None:
            q, k, v = frozen_linear(normed, weight, bias).chunk(3, dim=-1)
        else:
            width = normed.shape[-1]
            q = frozen_linear(queries, weight[:width], bias[:width])
            k, v = frozen_linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
        if self.lora is not None:
            inputs = (normed if queries is None else queries, normed, normed)
            q, k, v = (part + self.lora.update(i, x) for i, (part, x) in enumerate(zip((q, k, v), inputs)))
        return tuple(part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))

    def finish(self, x: Tensor, mixed: Tensor, normed: Tensor) -> Tensor:
        """The rest of the block: output projection, MLP and adapter, on states, mixed values and ln_1's output."""
        out, mlp = self.module.attn.out_proj, self.module.mlp
        x = x + self.ls_1(frozen_linear(mixed, out.weight, out.bias))
        hidden = frozen_linear(self.ln_2(x), mlp.c_fc.weight, mlp.c_fc.bias)
        if is_quick_gelu(mlp.gelu):
            # x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: one tensor kept for the backward pass instead of three
            hidden = F.silu(hidden.mul_(1.702)).div_(1.702)
        else:
            hidden = mlp.gelu(hidden)
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
            q, k, v = (part.transpose(1, 2) for part in self.attention_inputs(normed))  # (N, H, L, w)
            scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
            scores = scores if mask is None else scores + mask
            mixed = attn.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        added = 0 if self.adapter is None else self.adapter(normed)
        x = x + self.ls_1(mixed)
        return x + self.ls_2(self.module.mlp(self.ln_2(x))) + added


def layer_norm(module: nn.Module, name: str, parts: TowerParts):
    """A LayerNorm of a tower by its name there, with what takes the place of its parameters."""
    own = {key: parts.norms[f"{name}.{key}"] for key in ("weight", "bias") if f"{name}.{key}" in parts.norms}
    return (lambda x: functional_call(module, own, (x,))) if own else module


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask: q (B, Q, H, w) over k, v (B, N, H, w), to (B, Q, H * w)."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
