"""The router: from an image feature to the few experts that answer for it, and the weights they get."""

import torch
from torch import Tensor, nn


class RandomRouter(nn.Module):
    """An ablation: logits that depend on the image feature through a fixed random projection and learn nothing."""

    weight: Tensor

    def __init__(self, in_features: int, experts: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(experts, in_features, generator=generator), persistent=False)

    def forward(self, image_features: Tensor) -> Tensor:
        return image_features @ self.weight.t().to(image_features.dtype)


def make_router(kind: str, in_features: int, experts: int, dtype: torch.dtype) -> nn.Module:
    """The router of the key ROUTER, (B, D) -> (B, E): "learned", in CLIP's dtype, or "random".

    The learned one starts at PyTorch's default, as in the released code (`gate`).
    """
    return nn.Linear(in_features, experts).to(dtype) if kind == "learned" else RandomRouter(in_features, experts)


def top_k_gates(router_logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best experts of each image and their gate weights, a softmax over the k selected logits.

    Args:
        router_logits: (B, E).

    Returns:
        gate weights (B, K) that sum to one, expert indices (B, K), best first.
    """
    values, indices = router_logits.topk(k, dim=-1)
    return values.softmax(-1), indices


def mix_scores(scores: Tensor, gates: Tensor, indices: Tensor) -> Tensor:
    """Per-class scores (B, C) of the chosen experts, weighted by their gates.

    Mixing scores equals mixing text features, f . sum_k a_k s_k = sum_k a_k f . s_k, without a (B, K, C, D) tensor.

    Args:
        scores: (B, E, C) similarity of each image to each expert's class features.
        gates, indices: (B, K) from `top_k_gates`.
    """
    dense = torch.zeros(scores.shape[:2], dtype=gates.dtype, device=gates.device)  # (B, E)
    dense = dense.scatter(1, indices, gates)
    return torch.einsum("be,bec->bc", dense.to(scores.dtype), scores)
