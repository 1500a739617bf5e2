"""Is a trained method better than what it started from? Zero-shot CLIP on some of the same test images."""

from torch import Tensor
from yacs.config import CfgNode

from mocoop.clip.templates import single_template
from mocoop.methods.base import PromptMethod
from mocoop.methods.zeroshot import template_features


class ZeroShotCheck:
    """Counts, on images spread evenly over a test set, how often zero-shot CLIP and the method are right.

    Args:
        method: over the classes of the test set; it is asked for features, and not changed.
        stride: one in so many images is looked at.
    """

    def __init__(self, cfg: CfgNode, method: PromptMethod, stride: int):
        self.method, self.stride = method, stride
        template = single_template(cfg.DATASET.NAME)
        self.text_features = template_features(method.text_encoder, [template], method.classnames)  # (C, D)
        self.seen = self.images = self.right = self.method_right = 0

    def add(self, features: Tensor, logits: Tensor, batch: dict) -> None:
        """A batch: normalised image features (B, D) and logits (B, C) of the method, and the loader's batch."""
        first = -self.seen % self.stride
        self.seen += len(features)
        chosen = slice(first, None, self.stride)
        label = batch["label"][chosen].to(logits.device)
        if not len(label):
            return
        features = features[chosen]
        if self.method.image_learns:
            features = self.method.frozen_image_features(batch["img"][chosen].to(logits.device))
        found = features @ self.text_features.to(features).t()
        self.images += len(label)
        self.right += int((found.argmax(-1) == label).sum())
        self.method_right += int((logits[chosen].argmax(-1) == label).sum())

    def summary(self) -> dict:
        """`zero_shot` of the run's record: accuracies in percent on the same `images`, and who is `below`."""
        accuracy, own = (100.0 * right / self.images for right in (self.right, self.method_right))
        return {"images": self.images, "accuracy": accuracy, "method_accuracy": own, "below": own < accuracy}
