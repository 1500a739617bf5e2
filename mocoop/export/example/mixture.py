"""Names the classes of images: python example.py IMAGE..."""

from typing import Any

import torch
from load_model import image_features, name_classes
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def logits(model: Any, weights: dict[str, Tensor], info: dict, images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, classes). Where there are several experts, the router picks and weighs some of them."""
    features = normalize(image_features(model, weights, images), dim=-1)
    scores = torch.einsum("bd,ecd->bec", features, weights["text_features"])  # of each expert
    if "router.weight" not in weights:
        return weights["scale"] * scores[:, 0] + weights["bias"]
    routed = features @ weights["router.weight"].T + weights["router.bias"]
    values, experts = routed.topk(info["top_k"], dim=-1)
    gates = torch.zeros_like(routed).scatter(1, experts, values.softmax(-1))
    return weights["scale"] * torch.einsum("be,bec->bc", gates, scores) + weights["bias"]


if __name__ == "__main__":
    name_classes(logits)
