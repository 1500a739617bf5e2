"""Names the classes of images: python example.py IMAGE..."""

from typing import Any

import torch
from load_model import image_features, name_classes
from torch import Tensor
from torch.nn.functional import normalize, relu


@torch.no_grad()
def logits(model: Any, weights: dict[str, Tensor], info: dict, images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, classes): a classifier, an adapter or a cache on the image features."""
    features = image_features(model, weights, images)
    if "text_features" not in weights:
        return features @ weights["weight"].T + weights["bias"]
    features = normalize(features, dim=-1)
    if "adapter_down" in weights:
        adapted = relu(relu(features @ weights["adapter_down"].T) @ weights["adapter_up"].T)
        features = normalize(weights["ratio"] * adapted + (1 - weights["ratio"]) * features, dim=-1)
    similarity = features @ weights["text_features"].T
    if "weight" in weights:
        return features @ weights["weight"].T + weights["bias"] + weights["alpha"] * similarity
    if "keys" in weights:
        votes = (weights["beta"] * (features @ weights["keys"].T) - weights["beta"]).exp() @ weights["values"]
        return weights["scale"] * similarity + weights["alpha"] * votes
    return weights["scale"] * similarity


if __name__ == "__main__":
    name_classes(logits)
