"""What mixtures share: groups of templates, an expert for each, and a router that picks the best K for each image."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod
from mocoop.methods.class_rows import taught_classes
from mocoop.methods.mocoop.auto_groups import auto_groups, wants_auto
from mocoop.methods.mocoop.config import resolve_groups
from mocoop.methods.mocoop.losses import group_similarity, routing_target
from mocoop.methods.mocoop.router import make_router, mix_scores, top_k_gates


class RoutedMethod(PromptMethod):
    """Subclasses make experts, call `add_router`, and implement `encode_classes` and `loss`.

    Their keys hold GROUP_KEYS and ROUTER_KEYS (config.py).

    Attributes:
        groups: {name: templates}, of E groups.
        taught_classnames: C' classes that the text loss is taught with; those at hand are its `trained_rows` (C,).
        one_feature: whether all experts score the same feature of an image.

    Raises ConfigError for GROUPS auto that makes fewer groups than TOP_K.
    """

    one_feature = True
    trained_rows: Tensor

    def setup(self) -> None:
        self.groups = self._find_groups()
        self.group_names = list(self.groups)
        choice = self.settings.get("TEXT_LOSS_CLASSES", "train")
        self.taught_classnames, rows = taught_classes(self, choice)
        self.register_buffer("trained_rows", rows, persistent=False)

    def _find_groups(self) -> dict[str, list[str]]:
        node = cast(str, self.entry.node)  # it holds GROUP_KEYS
        if not wants_auto(self.settings):
            return resolve_groups(self.cfg, node)
        groups = auto_groups(self.cfg, node, self.text_encoder, self.classnames)
        if (top := self.settings.TOP_K) > len(groups):
            raise ConfigError(f"TRAINER.{node}.TOP_K is {top}, got {len(groups)} groups for GROUPS auto")
        return groups

    def add_router(self) -> None:
        """Make `router`, (B, D) -> (B, E)."""
        size, dtype = self.clip_model.embed_dim, self.clip_model.dtype
        self.router = make_router(self.settings.ROUTER, size, len(self.groups), dtype)

    def prototypes(self) -> Tensor:
        """Group prototypes (E, C', D) of the classes that the text loss is taught with; frozen, computed once."""
        return self.frozen("prototypes", self._mean_features)

    def _mean_features(self) -> Tensor:
        templates = [template for group in self.groups.values() for template in group]
        features = hard_features(self.text_encoder, templates, self.taught_classnames)  # (templates, C', D)
        groups = features.split([len(group) for group in self.groups.values()])
        return F.normalize(torch.stack([group.mean(0) for group in groups]), dim=-1)

    # --- routing --------------------------------------------------------------------------------------------------

    def seen_by_router(self, image_features: Tensor) -> Tensor:
        """What the router and its target look at, (B, D), of what `image_features` gives."""
        return image_features

    def choose(self, image_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Router logits (B, E), chosen experts (B, K) best first, and their gate weights (B, K)."""
        router_logits = self.router(self.seen_by_router(image_features))
        gates, experts = top_k_gates(router_logits, self.settings.TOP_K)
        return router_logits, experts, gates

    def routing_target(self, image_features: Tensor, label: Tensor) -> Tensor:
        """The distribution (B, E) that the router is taught, from images and labels (B,)."""
        settings, features = self.settings, self.seen_by_router(image_features)
        if not settings.get("GATE_TARGET_GRAD", True):
            features = features.detach()
        prototypes = self._trained_prototypes(features.dtype)
        return routing_target(features, prototypes, label, settings.GATE_TARGET_BONUS, settings.GATE_TARGET_TOP)

    def group_similarity(self, image_features: Tensor, label: Tensor) -> Tensor:
        """Cosine (B, E) of images with each group's prototype of a class (B,)."""
        features = self.seen_by_router(image_features)
        return group_similarity(features, self._trained_prototypes(features.dtype), label)

    def _trained_prototypes(self, dtype: torch.dtype) -> Tensor:
        return self.prototypes()[:, self.trained_rows].to(dtype)  # (E, C, D)

    # --- scores ---------------------------------------------------------------------------------------------------

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        """Logits (B, C), and what the router chose: "router_logits" (B, E), "experts" (B, K), "gates" (B, K), of the
        "image_features"."""
        router_logits, experts, gates = self.choose(image_features)
        logits = self.mix(image_features, self.class_features(), experts, gates)
        chosen = {"router_logits": router_logits, "experts": experts, "gates": gates}
        return {"logits": logits, **chosen, "image_features": image_features}

    def scores(self, image_features: Tensor, text: Tensor) -> Tensor:
        """Cosines (B, E', C) of images with text features (E', C, D)."""
        return torch.einsum("bd,ecd->bec", image_features, text)

    def mix(self, image_features: Tensor, text: Tensor, rows: Tensor, gates: Tensor) -> Tensor:
        """Logits (B, C) from text features (E', C, D), of which each image takes the `rows` (B, K)."""
        scores = self.scores(image_features, text)
        return self.logit_scale * mix_scores(scores, gates, rows) + self.logit_bias

    def routing_evidence(self, prediction: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Empty where experts have not encoded all images."""
        if not self.one_feature:
            return {}
        scores = self.scores(prediction["image_features"], self.class_features())
        similarity = self.group_similarity(prediction["image_features"], label)
        return {"expert_logits": self.logit_scale * scores, "similarity": similarity}

    def rate_factors(self) -> dict[str, float]:
        return {"router.": self.settings.ROUTER_LR_MULT}

    # --- state ----------------------------------------------------------------------------------------------------

    @property
    def knowledge(self) -> list[str]:
        more = ["names of the new classes"] if len(self.taught_classnames) > len(self.classnames) else []
        return ["groups of templates", *more]

    def structure(self) -> dict:
        return super().structure() | {"GROUPS": list(self.groups.values()), "GROUP_NAMES": self.group_names}
