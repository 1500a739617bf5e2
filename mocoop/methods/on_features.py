"""Methods on CLIP's frozen features: what they get of a run's images, and the hand-written prompts beside them."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mocoop.clip.templates import ensemble_templates, single_template
from mocoop.errors import ConfigError, quoted
from mocoop.methods.base import PromptMethod
from mocoop.methods.zeroshot import template_features


class FewShotFeatures(Protocol):
    """CLIP's features, not normalised, of the images that a run may learn from; for `PromptMethod.fit` and `select`."""

    def training(self, views: int = 0) -> tuple[Tensor, Tensor]:
        """Features (V, N, D) of V augmented views of all N training images, and labels (N,), in the dataset's order.

        0 views: one, transformed as in tests.
        """

    def validation(self) -> tuple[Tensor, Tensor] | None:
        """Features (M, D), transformed as in tests, and labels (M,); None if the test images stand in for these."""


class FeatureMethod(PromptMethod):
    """Base of methods on frozen features. What they learn, and compute, is in fp32 even if CLIP is in half precision.

    Attributes:
        templates: of the hand-written prompts.
        feature_size: D.
    """

    templates_of: Callable[[str], list[str]] = staticmethod(lambda dataset: [single_template(dataset)])

    def setup(self) -> None:
        self.templates = self.templates_of(self.cfg.DATASET.NAME)
        self.feature_size = self.clip_model.embed_dim

    def encode_classes(self) -> Tensor:
        """Features (C, D) of the hand-written prompts."""
        encode = (self.text_encoder, self.templates, self.classnames)
        return at_least_fp32(self.frozen("text", lambda: template_features(*encode)))

    def scoring_tensors(self) -> dict[str, Tensor]:
        """What `predict_features` computes with, for the classes at hand; for exports."""
        return {"text_features": self.encode_classes()}

    @property
    def knowledge(self) -> list[str]:
        return ["template of the dataset", *(["validation images"] if self.settings.get("SEARCH") else [])]


class ClassifierMethod(FeatureMethod):
    """Base of methods that learn a classifier of the trained classes: they have no word on others."""

    def classifier_rows(self) -> Tensor:
        """`rows`. Raises ConfigError if a class at hand was not trained."""
        if not self.all_trained:
            name = self.classnames[int(self.rows.argmin())]
            raise ConfigError(f"{self.entry.name} has {self.bound_to_classes()}, got the class name {quoted(name)}")
        return self.rows

    def bound_to_classes(self) -> str:
        return "a classifier of the trained classes"


def tip_templates(dataset: str) -> list[str]:
    """Tip-Adapter's: CLIP's seven selected ones for ImageNet and its variants, else the dataset's own."""
    return ensemble_templates("ImageNet") if dataset.startswith("ImageNet") else [single_template(dataset)]


def at_least_fp32(x: Tensor) -> Tensor:
    """A tensor in half precision as fp32; others as they are."""
    return x if x.dtype == torch.float64 else x.float()
