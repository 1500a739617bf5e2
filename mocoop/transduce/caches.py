"""TDA: test images one after the other, beside caches of those before that were surest of each class.

A. Karmanov, D. Guan, S. Lu, A. El Saddik, E. Xing, "Efficient Test-Time Adaptation of Vision-Language Models", arXiv
2403.18293.
"""

import math
from dataclasses import dataclass

from torch import Tensor


class Cache:
    """Of each class the features of the images with the lowest entropy among those that were put there.

    Args:
        classes, size: C classes of at most `size` images each.
        feature, value: one image's (D,) and what is kept with it (V,), for their shapes and type.
    """

    def __init__(self, classes: int, size: int, feature: Tensor, value: Tensor):
        self.keys = feature.new_zeros(classes, size, *feature.shape)
        self.values = value.new_zeros(classes, size, *value.shape)
        self.entropy = feature.new_full((classes, size), math.inf)

    def add(self, label: int, entropy: Tensor, feature: Tensor, value: Tensor) -> None:
        """Keep an image, in place of the one with the highest entropy if there is no room."""
        place = int(self.entropy[label].argmax())
        if entropy < self.entropy[label, place]:
            self.keys[label, place], self.values[label, place] = feature, value
            self.entropy[label, place] = entropy

    def near(self, feature: Tensor, beta: float) -> Tensor:
        """exp(-beta (1 - f.k)) (C, size) of a feature (D,); 0 where nothing is kept."""
        return (-beta * (1 - self.keys @ feature)).exp() * self.entropy.isfinite()


@dataclass(frozen=True)
class TDA:
    """TDA without views of an image: its feature and its scores are those of the run.

    Attributes:
        size, alpha, beta: of the positive cache: images a class, weight, sharpness. The authors set the last two for
            each data set (these are ImageNet's), and do not say how.
        negative_size, negative_alpha, negative_beta: of the negative one, for images that are neither sure nor unsure.
        lowest, highest: between which their entropy lies.
        mask: the probability above which a class counts as possible.
        entropy: "released": in nats, divided by log2(C), as the authors' code has it, whose limits these are; "unit":
            from 0 to 1.
    """

    size: int = 3
    alpha: float = 2.0
    beta: float = 5.0
    negative_size: int = 2
    negative_alpha: float = 0.117
    negative_beta: float = 1.0
    lowest: float = 0.2
    highest: float = 0.5
    mask: float = 0.03
    entropy: str = "released"

    def __call__(self, features: Tensor, logits: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Logits (N, C) of images with normalised features (N, D) and the run's logits (N, C), in their order.

        An image is put into the caches before it is scored.
        """
        features, logits = features.double(), logits.double()
        classes = logits.shape[1]
        log_p = logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        largest = max(math.log2(classes) if self.entropy == "released" else math.log(classes), 1e-12)
        uncertain = (self.lowest < entropy / largest) & (entropy / largest < self.highest)
        possible = ((log_p.exp() > self.mask) & (log_p < 0)).to(features)  # (N, C)
        positive = Cache(classes, self.size, features[0], features.new_zeros(0))
        negative = Cache(classes, self.negative_size, features[0], possible[0])
        found = logits.clone()
        for i, label in enumerate(logits.argmax(-1).tolist()):
            positive.add(label, entropy[i], features[i], features.new_zeros(0))
            if uncertain[i]:
                negative.add(label, entropy[i], features[i], possible[i])
            found[i] += self.alpha * positive.near(features[i], self.beta).sum(-1)
            weights = negative.near(features[i], self.negative_beta).flatten()
            found[i] -= self.negative_alpha * weights @ negative.values.flatten(0, 1)
        return found
