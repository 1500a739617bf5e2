"""Is a trained method better than what it started from? Zero-shot CLIP on some of the same test images."""

from torch import Tensor
from yacs.config import CfgNode

from mocoop.clip.shares import apart
from mocoop.clip.templates import single_template
from mocoop.distributed import of_all, own_range
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
        """A batch: normalised image features (B, D) and logits (B, C) of the method, and the loader's batch.

        Each rank looks at its own images.
        """
        own, first = own_range(len(features)), -self.seen % self.stride
        self.seen += len(features)
        chosen = [place for place in range(first, len(features), self.stride) if place in own]
        if not chosen:
            return
        label, features = batch["label"][chosen].to(logits.device), features[chosen]
        if self.method.image_learns:
            image = batch["img"][[place - own.start for place in chosen]].to(logits.device)
            with apart():
                features = self.method.frozen_image_features(image)
        found = features @ self.text_features.to(features).t()
        self.images += len(label)
        self.right += int((found.argmax(-1) == label).sum())
        self.method_right += int((logits[chosen].argmax(-1) == label).sum())

    def summary(self) -> dict:
        """`zero_shot` of the run's record: accuracies in percent on the same `images`, and who is `below`."""
        images, *both = (sum(counts) for counts in zip(*of_all((self.images, self.right, self.method_right))))
        accuracy, own = (100.0 * right / images for right in both)
        return {"images": images, "accuracy": accuracy, "method_accuracy": own, "below": own < accuracy}
