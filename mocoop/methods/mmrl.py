"""MMRL, multi-modal representation learning (arXiv 2503.08497): tokens of one learned space in both towers."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.prompts import hard_prompts
from mocoop.clip.templates import fill, single_template
from mocoop.clip.tower_parts import Rows, TowerParts
from mocoop.methods.base import batch_accuracy
from mocoop.methods.coop import renamed
from mocoop.methods.deep_prompts import STD, blocks_from, image_tower, text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.kgcoop import anchor_distance
from mocoop.methods.parts import OnePrompt
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("ALPHA", 0.7, "share of the class token in loss and scores; the representation tokens have the rest",
        at_least=0.0, at_most=1.0),
    Key("REG_WEIGHT", 1.0, "weight of the distances to CLIP's features (released: 0.01 to 7 by dataset)", at_least=0.0),
    Key("FUSE", True, "score trained classes by both tokens; without: by the class token alone, as other classes"),
    Key("N_REP_TOKENS", 5, "representation tokens in each tower", at_least=1, at_most=1024, structural=True),
    Key("REP_DIM", 512, "size of the learned space (released: 2048 for EuroSAT)", at_least=1, at_most=16384,
        structural=True),
    Key("FIRST_BLOCK", 5, "the first block, from 0, that gets tokens; all above it do, too", at_least=0,
        structural=True),
    *common_keys(prec="amp"),
)  # fmt: skip


@register_method("MMRL", node="MMRL", keys=KEYS, published="2025-03", title="multi-modal representation learning",
                 trained_classes=True, export=None)  # fmt: skip
class MMRL(OnePrompt):
    """Learns `compound_rep_tokens` (n, REP_DIM), by block what maps them into both towers, and `proj_rep` (W, D).

    The second vector of an image is the mean of its representation tokens' last states, projected by `proj_rep`.
    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    extra_vectors = 1
    chosen_by_dataset = {"REG_WEIGHT": 1.0, "REP_DIM": 512}  # what the authors chose so, and where they did not

    def setup(self) -> None:
        (visual, width), text, settings = image_tower(self), text_tower(self), self.settings
        self.template = single_template(self.cfg.DATASET.NAME)
        prompts = [fill(self.template, name) for name in self.classnames]
        self.layout = hard_prompts(prompts, self.clip_model.tokenizer)
        self.image_rows = tuple(range(1, 1 + settings.N_REP_TOKENS))
        self.compound_rep_tokens = nn.Parameter(STD * torch.randn(settings.N_REP_TOKENS, settings.REP_DIM))
        text_blocks, blocks = (len(blocks_from(self, tower)) for tower in (text, visual))
        self.make_maps(settings.REP_DIM, (self.clip_model.text_width, text_blocks), (width, blocks))

    def make_maps(self, size: int, text: tuple[int, int], image: tuple[int, int]) -> None:
        """What leads from the space into the towers, given each one's width and number of blocks, and to features."""
        self.compound_rep_tokens_r2tproj, self.compound_rep_tokens_r2vproj = (
            copies(nn.Linear(size, width), blocks) for width, blocks in (text, image)
        )
        self.proj_rep = nn.Parameter(image[0] ** -0.5 * torch.randn(image[0], self.clip_model.embed_dim))

    def mapped(self, maps: nn.ModuleList) -> Iterable[Tensor]:
        return (to_tower(self.compound_rep_tokens) for to_tower in maps)

    def tower_parts(self, values: Iterable[Tensor]) -> TowerParts:
        first = self.settings.FIRST_BLOCK
        return TowerParts(rows={i: Rows(v, "replace" if i > first else "insert") for i, v in enumerate(values, first)})

    def text_parts(self) -> TowerParts:
        return self.tower_parts(self.mapped(self.compound_rep_tokens_r2tproj))

    def image_parts(self) -> TowerParts:
        return self.tower_parts(self.mapped(self.compound_rep_tokens_r2vproj))

    def features_of_rows(self, states: Tensor) -> Tensor:
        projection = self.second_projection()
        return F.normalize(states.mean(1, keepdim=True).to(projection.dtype) @ projection, dim=-1)

    def second_projection(self) -> Tensor:
        """What the representation tokens are projected by, (W, D)."""
        return self.proj_rep

    def both_logits(self, image_features: Tensor, text: Tensor) -> Tensor:
        """Logits (2, B, C) of image features (B, 2, D): of the class token, of the representation tokens."""
        return self.logit_scale * image_features.transpose(0, 1) @ text.t()

    def fused(self, logits: Tensor) -> Tensor:
        return self.settings.ALPHA * logits[0] + (1 - self.settings.ALPHA) * logits[1]  # (B, C)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        """Of both tokens where all tested classes are trained ones, by name; else of the class token alone."""
        logits = self.both_logits(image_features, self.class_features())
        both = self.settings.FUSE and self.all_trained
        return {"logits": (self.fused(logits) if both else logits[0]) + self.logit_bias}

    def anchors(self) -> Tensor:
        """CLIP's features (C, D) of the same prompts."""
        return self.frozen("anchors", lambda: template_features(self.text_encoder, [self.template], self.classnames))

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        features, text, weight = self.image_features(image), self.class_features(), self.settings.REG_WEIGHT
        logits = self.both_logits(features, text)
        parts = {
            "loss_ce": self.settings.ALPHA * F.cross_entropy(logits[0], label),
            "loss_rep": (1 - self.settings.ALPHA) * F.cross_entropy(logits[1], label),
            "loss_image": weight * anchor_distance(features[:, 0], self.frozen_image_features(image)),
            "loss_text": weight * anchor_distance(text, self.anchors()),
        }
        return {"loss": sum(parts.values()), "acc": batch_accuracy(self.fused(logits), label), **parts}

    @property
    def knowledge(self) -> list[str]:
        chosen = any(self.settings[key] != value for key, value in self.chosen_by_dataset.items())
        return ["template of the dataset", *(["settings chosen for the dataset"] if chosen else [])]

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP."""
        kept = "representation_learner.", "image_encoder."
        return renamed(state, {start + name: name for start in kept for name in self.learned_parameters()})


def copies(layer: nn.Module, count: int) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(layer) for _ in range(count))
