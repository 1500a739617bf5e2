"""Is a trained method better than what it started from? Zero-shot CLIP on some of the same test images."""

from contextlib import contextmanager

import torch
from torch import Tensor
from yacs.config import CfgNode

from mocoop.methods import get_method
from mocoop.methods.base import PromptMethod


class TunedTower:
    """What an image tower's tuned parameters were before training: CLIP's own."""

    def __init__(self, method: PromptMethod):
        tuned = [p for p in method.clip_model.visual.parameters() if p.requires_grad]
        self.before = [(p, p.detach().clone()) for p in tuned]

    @contextmanager
    def as_before(self):
        """CLIP's own parameters meanwhile."""
        with torch.no_grad():
            trained = [p.detach().clone() for p, _ in self.before]
            for p, value in self.before:
                p.copy_(value)
            try:
                yield
            finally:
                for (p, _), value in zip(self.before, trained):
                    p.copy_(value)


class ZeroShotCheck:
    """Counts, on images spread evenly over a test set, how often zero-shot CLIP and the method are right.

    Args:
        method: over the classes of the test set.
        tower: of the method, made before it was trained.
        stride: every so many images one is looked at.
    """

    def __init__(self, cfg: CfgNode, method: PromptMethod, tower: TunedTower, stride: int):
        self.zero_shot = get_method("ZeroshotCLIP").build(cfg, method.classnames, method.clip_model)
        self.zero_shot.to(method.logit_scale.device).eval()
        self.tower, self.stride = tower, stride
        self.seen = self.images = self.right = self.method_right = 0

    def add(self, features: Tensor, logits: Tensor, batch: dict) -> None:
        """A batch: normalised image features (B, D) and logits (B, C) of the method, and what the loader gave."""
        first = -self.seen % self.stride
        self.seen += len(features)
        chosen = slice(first, None, self.stride)
        label = batch["label"][chosen].to(logits.device)
        if not len(label):
            return
        features = features[chosen]
        if self.tower.before:
            with self.tower.as_before():
                features = self.zero_shot.image_features(batch["img"][chosen].to(logits.device))
        found = self.zero_shot.predict_features(features)["logits"]
        self.images += len(label)
        self.right += int((found.argmax(-1) == label).sum())
        self.method_right += int((logits[chosen].argmax(-1) == label).sum())

    def summary(self) -> dict:
        """`zero_shot` of the run's record: accuracies in percent on the same `images`, and who is `below`."""
        accuracy, own = (100.0 * right / self.images for right in (self.right, self.method_right))
        return {"images": self.images, "accuracy": accuracy, "method_accuracy": own, "below": own < accuracy}
