"""LoRA (arXiv 2106.09685): low-rank updates of a block's projections to queries, keys and values."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LoRA(nn.Module):
    """Adds scaling * dropout(x) A^T B^T to queries, keys and values, each with dropout, A and B of its own.

    A (r, W) starts as nn.Linear's weight does and B (W, r) at zero, so that the start is the frozen block.

    Args:
        width: W, of the tower.
        rank: r.
        scaling: alpha / r, or alpha / sqrt(r) in CLIP-LoRA.
        dropout: probability of dropping an input, in training.
    """

    def __init__(self, width: int, rank: int, scaling: float, dropout: float = 0.0):
        super().__init__()
        self.scaling, self.dropout = scaling, dropout
        self.a = nn.ParameterList(nn.init.kaiming_uniform_(torch.empty(rank, width), a=math.sqrt(5)) for _ in "qkv")
        self.b = nn.ParameterList(nn.Parameter(torch.zeros(width, rank)) for _ in "qkv")

    @property
    def drops_out(self) -> bool:
        return self.training and self.dropout > 0

    def update(self, which: int, x: Tensor) -> Tensor:
        """What is added to the queries (0), keys (1) or values (2) of inputs x (..., W)."""
        x = F.dropout(x, self.dropout, self.drops_out)
        return self.scaling * F.linear(F.linear(x, self.a[which].to(x.dtype)), self.b[which].to(x.dtype))

    def weight_update(self) -> Tensor:
        """(3 W, W), to be added to a block's in_proj_weight: the same update without dropout."""
        return self.scaling * torch.cat([b @ a for a, b in zip(self.a, self.b)])
