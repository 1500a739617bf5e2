"""Made-up features of test images, and the scores of a classifier by text that is off."""

import torch
from torch.nn import functional as F


def made_up(images=90, classes=6, width=16, seed=0):
    """features (N, D), logits (N, C), labels (N,), prototypes (C, D); the images' mean is not the text's."""
    chance = torch.Generator().manual_seed(seed)
    text = F.normalize(torch.randn(classes, width, generator=chance, dtype=torch.float64), dim=-1)
    labels = torch.randint(classes, (images,), generator=chance)
    off = 0.35 * torch.randn(classes, width, generator=chance, dtype=torch.float64)
    noise = 0.25 * torch.randn(images, width, generator=chance, dtype=torch.float64)
    features = F.normalize(text[labels] + off[labels] + noise, dim=-1)
    return features, 20 * features @ text.t(), labels, text


def accuracy(scores, labels):
    return float((scores.argmax(-1) == labels).double().mean())
