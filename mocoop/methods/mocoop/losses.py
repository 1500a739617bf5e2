"""MoCoOp's two teaching losses (arXiv 2409.12011): text supervision of the experts, guidance of the router."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def text_supervision_loss(
    soft: Tensor,
    prototypes: Tensor,
    scale: float | Tensor = 1.0,
    experts: int | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Semantically grouped text supervision: each expert's class feature is told from the other classes of its group.

    The mean over experts g and classes c of the cross-entropy of scale * soft[g, c] . prototypes[g, :] against c.

    Args:
        soft: (E', C, D) normalised text features of the soft prompts.
        prototypes: (E', C, D) normalised group prototypes.
        scale: inverse temperature; 1 in the released code.
        experts: E, if only some were encoded. The released code leaves the features of the others at zero, so that
            each counts as the constant ln C.
        counted: (E',) 1 for those that count, 0 for those that count as the constant though they were encoded.
    """
    logits = scale * torch.einsum("gcd,ged->gce", soft, prototypes)  # (E', C, C)
    encoded, classes = logits.shape[:2]
    target = torch.arange(classes, device=logits.device).expand(encoded, -1)
    if experts is None or (counted is None and experts == encoded):
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(encoded, classes).mean(1)
    counted = torch.ones_like(each) if counted is None else counted.to(each.dtype)
    return ((counted * each).sum() + (experts - counted.sum()) * math.log(classes)) / experts


def group_similarity(image_features: Tensor, prototypes: Tensor, label: Tensor) -> Tensor:
    """f(x) . p[g, y], (B, E): how near each image (B, D) lies to each group's prototype (E, C, D) of its class (B,)."""
    return torch.einsum("bd,gbd->bg", image_features, prototypes[:, label])


def routing_target(image_features: Tensor, prototypes: Tensor, label: Tensor, bonus: float, top: int) -> Tensor:
    """Hard-prompt-guided target distribution over groups, (B, E).

    q(x, y) = softmax_g(f(x) . p[g, y] + bonus * [g is among the `top` best of f(x) . p[., y]]); the released code has
    bonus 10 and top 2.

    Args:
        image_features: (B, D) normalised.
        prototypes: (E, C, D) normalised group prototypes.
        label: (B,) true classes.
    """
    similarity = group_similarity(image_features, prototypes, label)  # (B, E)
    best = similarity.topk(min(top, similarity.shape[1]), dim=-1).indices
    return (similarity + bonus * torch.zeros_like(similarity).scatter(1, best, 1.0)).softmax(-1)


def routing_loss(router_logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the router's logits (B, E) against the target distribution (B, E), mean over images."""
    return F.cross_entropy(router_logits, target)
