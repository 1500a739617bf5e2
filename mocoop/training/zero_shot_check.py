"""Is a trained method better than what it started from? Zero-shot CLIP on some of the same test images."""

from torch import Tensor
from torch.nn import functional as F
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

    def add(self, features: Tensor | None, logits: Tensor, batch: dict) -> None:
        """A batch: CLIP's own image features (B, D), None where they are to be computed, the method's logits (B, C),
        and what the loader gave.

        Each rank looks at its own images.
        """
        own, first = own_range(len(logits)), -self.seen % self.stride
        self.seen += len(logits)
        chosen = [place for place in range(first, len(logits), self.stride) if place in own]
        if not chosen:
            return
        label = batch["label"][chosen].to(logits.device)
        if features is None:
            image = batch["img"][[place - own.start for place in chosen]].to(logits.device)
            with apart():
                features = self.method.frozen_image_features(image)
        else:
            features = F.normalize(features[chosen], dim=-1)
        found = features @ self.text_features.to(features).t()
        self.images += len(label)
        self.right += int((found.argmax(-1) == label).sum())
        self.method_right += int((logits[chosen].argmax(-1) == label).sum())

    def summary(self) -> dict:
        """`zero_shot` of the run's record: accuracies in percent on the same `images`, and who is `below`."""
        images, *both = (sum(counts) for counts in zip(*of_all((self.images, self.right, self.method_right))))
        accuracy, own = (100.0 * right / images for right in both)
        return {"images": images, "accuracy": accuracy, "method_accuracy": own, "below": own < accuracy}
