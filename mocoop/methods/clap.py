"""CLAP (arXiv 2312.12730): a linear probe that starts as zero-shot CLIP and is held near it; without that, ZS-LP."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import ClassifierMethod, FewShotFeatures, at_least_fp32
from mocoop.methods.taskres import base_templates
from mocoop.registry import register_method

NONE, CLASSES, ADAPTIVE = "none", "classes", "adaptive"
KEYS = (
    Key("CONSTRAINT", CLASSES, "what holds a class near its text: none (ZS-LP), classes (CLAP: the weight is zero-shot "
        "CLIP's mean probability of the right class), adaptive (that grows after each epoch)",
        (NONE, CLASSES, ADAPTIVE)),
    Key("VIEWS", 20, "augmented views of a training image (released: 20)", at_least=1, at_most=10_000),
    Key("EPOCHS", 300, "passes, each over as many views as there are images (released: 300)", at_least=1,
        at_most=1_000_000),
    Key("BATCH_SIZE", 256, "views in a step (released: 256)", at_least=1, at_most=1_000_000),
    Key("LR", 0.1, "learning rate at the start (released: 0.1), after an epoch at 1e-5; it follows a cosine",
        at_least=0.0),
    *common_keys(prec="fp32"),
)  # fmt: skip
MOMENTUM, WARMUP = 0.9, 1e-5


@register_method(
    "CLAP", node="CLAP", keys=KEYS, published="2023-12", title="a linear probe held near zero-shot CLIP",
    new_classes=False, trained_classes=True,
)  # fmt: skip
class CLAP(ClassifierMethod):
    """Fits `prototypes` (T, D), which are compared with images as text features are, and start as these."""

    takes_steps = False
    prototypes: Tensor
    templates_of = staticmethod(base_templates)

    def setup(self) -> None:
        super().setup()
        self.register_buffer("prototypes", torch.zeros(len(self.trained_classnames), self.feature_size))

    def text_features(self) -> Tensor:
        """Those of the classes at hand (C, D): means over templates, not normalised before or after."""
        given = self.text_encoder, self.templates, self.classnames
        return at_least_fp32(self.frozen("text", lambda: hard_features(*given, normalised=False).mean(0)))

    def encode_classes(self) -> Tensor:
        return F.normalize(self.prototypes[self.classifier_rows()], dim=-1)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        return super().predict_features(at_least_fp32(image_features))

    def fit(self, features: FewShotFeatures) -> None:
        """All of the training: each epoch takes its steps on views of the training images in an order of its own."""
        views, labels = features.training(self.settings.VIEWS)
        image, label = F.normalize(at_least_fp32(views), dim=-1).flatten(0, 1), labels.repeat(len(views))
        text = self.text_features()
        learned = text.clone().requires_grad_()
        weight, growth = self.first_weights(image, label, text), torch.zeros_like(text[:, 0])
        optimizer = torch.optim.SGD([learned], self.settings.LR, momentum=MOMENTUM)
        for epoch in range(self.settings.EPOCHS):
            optimizer.param_groups[0]["lr"] = self.rate(epoch)
            for rows in self.batches(len(label), len(labels)):
                optimizer.zero_grad()
                ce, held = self.losses(image[rows], label[rows], learned, text, weight)
                (ce + held).backward()
                optimizer.step()
            if self.settings.CONSTRAINT == ADAPTIVE:  # as released, by the distance after the epoch before
                distance = (learned.detach() - text).square().sum(-1)
                weight, growth = weight + growth * distance, distance
        self.prototypes.copy_(learned.detach())

    def first_weights(self, image: Tensor, label: Tensor, text: Tensor) -> Tensor:
        """(T,) by which each class is held at the start."""
        if self.settings.CONSTRAINT == NONE:
            return torch.zeros_like(text[:, 0])
        probability = self.logits(image, text).softmax(-1).gather(1, label[:, None])[:, 0]
        return torch.stack([probability[label == c].mean() for c in range(len(text))])

    def logits(self, image: Tensor, learned: Tensor) -> Tensor:
        return self.logit_scale * image @ F.normalize(learned, dim=-1).t()

    def losses(
        self, image: Tensor, label: Tensor, learned: Tensor, text: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of normalised features (B, D), and the weighed squared distance to the texts' (T, D)."""
        distance = (learned - text).square().sum(-1)
        return F.cross_entropy(self.logits(image, learned), label), (weight * distance).mean()

    def batches(self, views: int, images: int) -> Iterator[Tensor]:
        """Of an epoch: rows of so many views, as many as whole batches of the images are, and at least one."""
        order, size = torch.randperm(views), self.settings.BATCH_SIZE
        for start in range(0, max(images // size, 1) * size, size):
            yield order[start : start + size].to(self.prototypes.device)

    def rate(self, epoch: int) -> float:
        """Of an epoch from 0: one of warming up, then half a cosine, as Dassl's over all of them."""
        share = (1 + math.cos(math.pi * (epoch - 1) / self.settings.EPOCHS)) / 2
        return self.settings.LR * share if epoch else WARMUP
