"""Routing: the router, what teaches it and the experts, and what mixtures share.

A mixture has groups of templates, an expert for each, and a router that picks the best K for each image. The losses
are MoCoOp's (arXiv 2409.12011): text supervision of the experts, guidance of the router.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod
from mocoop.methods.class_rows import taught_classes
from mocoop.methods.mocoop.auto_groups import auto_groups, wants_auto
from mocoop.methods.mocoop.config import resolve_groups


class RandomRouter(nn.Module):
    """An ablation: logits that depend on the image feature through a fixed random projection and learn nothing."""

    weight: Tensor

    def __init__(self, in_features: int, experts: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(experts, in_features, generator=generator), persistent=False)

    def forward(self, image_features: Tensor) -> Tensor:
        return image_features @ self.weight.t().to(image_features.dtype)


def make_router(kind: str, in_features: int, experts: int, dtype: torch.dtype) -> nn.Module:
    """The router of the key ROUTER, (B, D) -> (B, E): "learned", in CLIP's dtype, or "random".

    The learned one starts at PyTorch's default, as in the released code (`gate`).
    """
    return nn.Linear(in_features, experts).to(dtype) if kind == "learned" else RandomRouter(in_features, experts)


def top_k_gates(router_logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best experts of each image and their gate weights, a softmax over the k selected logits.

    Args:
        router_logits: (B, E).

    Returns:
        gate weights (B, K) that sum to one, expert indices (B, K), best first.
    """
    values, indices = router_logits.topk(k, dim=-1)
    return values.softmax(-1), indices


def mix_scores(scores: Tensor, gates: Tensor, indices: Tensor) -> Tensor:
    """Per-class scores (B, C) of the chosen experts, weighted by their gates.

    Mixing scores equals mixing text features, f . sum_k a_k s_k = sum_k a_k f . s_k, without a (B, K, C, D) tensor.

    Args:
        scores: (B, E, C) similarity of each image to each expert's class features.
        gates, indices: (B, K) from `top_k_gates`.
    """
    dense = torch.zeros(scores.shape[:2], dtype=gates.dtype, device=gates.device)  # (B, E)
    dense = dense.scatter(1, indices, gates)
    return torch.einsum("be,bec->bc", dense.to(scores.dtype), scores)


def text_supervision_loss(
    soft: Tensor,
    prototypes: Tensor,
    scale: float | Tensor = 1.0,
    experts: int | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Semantically grouped text supervision: each expert's class feature is told from the other classes of its group.

    The mean over experts g and classes c of the cross-entropy of scale * soft[g, c] . prototypes[g, :] against c.

    Args:
        soft: (E', C, D) normalised text features of the soft prompts.
        prototypes: (E', C, D) normalised group prototypes.
        scale: inverse temperature; 1 in the released code.
        experts: E, if only some were encoded. The released code leaves the features of the others at zero, so that
            each counts as the constant ln C.
        counted: (E',) 1 for those that count, 0 for those that count as the constant though they were encoded.
    """
    logits = scale * torch.einsum("gcd,ged->gce", soft, prototypes)  # (E', C, C)
    encoded, classes = logits.shape[:2]
    target = torch.arange(classes, device=logits.device).expand(encoded, -1)
    if experts is None or (counted is None and experts == encoded):
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(encoded, classes).mean(1)
    counted = torch.ones_like(each) if counted is None else counted.to(each.dtype)
    return ((counted * each).sum() + (experts - counted.sum()) * math.log(classes)) / experts


def group_similarity(image_features: Tensor, prototypes: Tensor, label: Tensor) -> Tensor:
    """f(x) . p[g, y], (B, E): how near each image (B, D) lies to each group's prototype (E, C, D) of its class (B,)."""
    return torch.einsum("bd,gbd->bg", image_features, prototypes[:, label])


def routing_target(image_features: Tensor, prototypes: Tensor, label: Tensor, bonus: float, top: int) -> Tensor:
    """Hard-prompt-guided target distribution over groups, (B, E).

    q(x, y) = softmax_g(f(x) . p[g, y] + bonus * [g is among the `top` best of f(x) . p[., y]]); the released code has
    bonus 10 and top 2.

    Args:
        image_features: (B, D) normalised.
        prototypes: (E, C, D) normalised group prototypes.
        label: (B,) true classes.
    """
    similarity = group_similarity(image_features, prototypes, label)  # (B, E)
    best = similarity.topk(min(top, similarity.shape[1]), dim=-1).indices
    return (similarity + bonus * torch.zeros_like(similarity).scatter(1, best, 1.0)).softmax(-1)


def routing_loss(router_logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the router's logits (B, E) against the target distribution (B, E), mean over images."""
    return F.cross_entropy(router_logits, target)


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
