"""Names the classes of images: python example.py IMAGE...   Other class names may be written into classes.json."""

from typing import Any

import torch
from load_model import image_features, name_classes
from torch import Tensor
from torch.nn.functional import linear, normalize, relu


@torch.no_grad()
def logits(model: Any, weights: dict[str, Tensor], info: dict, images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, classes). Each image shifts the context, so the prompts are encoded for each of them."""
    features = normalize(image_features(model, weights, images), dim=-1)
    first, second = ([weights[f"meta_net.linear{i}.{part}"] for part in ("weight", "bias")] for i in (1, 2))
    shifts = linear(relu(linear(features, *first)), *second)  # (B, width)
    size = len(weights["ctx"])
    tokens = info["tokenize"](["X " * size + name.replace("_", " ") + "." for name in info["classes"]])
    embedding = getattr(model, "text", model).token_embedding
    prompts = embedding(tokens)  # (classes, 77, width)
    hook = embedding.register_forward_hook(lambda *_: prompts)  # takes the place of what CLIP would look up
    result = []
    for feature, shift in zip(features, shifts):
        prompts[:, 1 : 1 + size] = weights["ctx"] + shift
        result.append(weights["scale"] * normalize(model.encode_text(tokens), dim=-1) @ feature + weights["bias"])
    hook.remove()
    return torch.stack(result)


if __name__ == "__main__":
    name_classes(logits)
