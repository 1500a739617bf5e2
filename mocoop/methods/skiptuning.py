"""Skip Tuning (arXiv 2412.11509): the upper halves of both towers learn, from the classes that are like a batch."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.prompts import hard_prompts
from mocoop.clip.templates import anchor_template, fill
from mocoop.clip.tower_parts import TowerParts
from mocoop.clip.upper_text import UpperText
from mocoop.errors import CheckpointError
from mocoop.methods.base import batch_accuracy
from mocoop.methods.coop import renamed
from mocoop.methods.deep_prompts import blocks_from, image_tower, text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt, TowerWeights, of_upper_blocks
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("FIRST_BLOCK", 6, "the first block, from 0, that learns; all above it do, too", at_least=0, structural=True),
    Key("TOP_RATIO", 0.5, "share of the classes, nearest to a batch, that a step is sure to score", at_least=0.0,
        at_most=1.0),
    Key("MAX_TOP", 50, "the most classes that a step is sure to score", at_least=1),
    Key("LAMBDA", 0.3, "how far behind these others may be scored: the scale of an exponential over 0 to 5",
        at_least=1e-3),
    Key("IMAGE_LR_MULT", 0.25, "factor on the image tower's learning rate (released: 0.25; few-shot 1; xd 0.1)",
        at_least=0.0),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("SkipTuning", node="SKIP", keys=KEYS, published="2024-12", title="the upper halves of both towers")
class SkipTuning(OnePrompt):
    """Learns `text_weights` and `image_weights`: of the upper blocks and what follows them, in CLIP's own precision.

    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    one_class_batches = True
    kept: list[bool]  # of the ranks behind the nearest classes: drawn once, for all steps

    def setup(self) -> None:
        clip_model, first = self.clip_model, self.settings.FIRST_BLOCK
        for tower in (text_tower(self), image_tower(self)[0]):
            blocks_from(self, tower)
        self.template = anchor_template("SkipTuning", self.cfg.DATASET.NAME)
        self.layout = hard_prompts([fill(self.template, name) for name in self.classnames], clip_model.tokenizer)
        prefix = clip_model.text_prefix
        text = ((n.removeprefix(prefix), p) for n, p in clip_model.model.named_parameters() if n.startswith(prefix))
        self.text_weights = TowerWeights(of_upper_blocks(text, first))
        self.image_weights = TowerWeights(of_upper_blocks(clip_model.visual.named_parameters(), first))
        self.top = min(math.ceil(self.settings.TOP_RATIO * len(self.classnames)), self.settings.MAX_TOP)
        others = len(self.classnames) - self.top
        self.kept = (torch.rand(others) < chances(others, self.settings.LAMBDA)).tolist()
        self.upper_text = UpperText(clip_model, first, self.text_encoder.kind == "fast")

    def text_parts(self) -> TowerParts | None:
        return self.text_weights.parts()

    def image_parts(self) -> TowerParts | None:
        return self.image_weights.parts()

    def ranks(self, images: int) -> Tensor:
        """The places, in the order of nearness to a batch of so many images, of the classes that are scored."""
        top = max(self.top, min(images, len(self.classnames)))  # no image's own class is passed over
        places = [*range(top), *(self.top + i for i, kept in enumerate(self.kept) if kept and self.top + i >= top)]
        return self.frozen(f"ranks {places}", lambda: torch.tensor(places, device=self.logit_scale.device))

    @torch.no_grad()
    def chosen(self, features: Tensor, label: Tensor) -> Tensor:
        """The classes (K,) that a step scores, in label order: nearest by their largest cosine with one of its images.

        Args:
            features: (B, D) of the images.
        """
        own = self.frozen("prototypes", lambda: template_features(self.text_encoder, [self.template], self.classnames))
        near = (features @ own.to(features.dtype).t()).scatter(1, label[:, None], 1e4)  # (B, C)
        order = near.amax(0).argsort(descending=True)
        return order.index_select(0, self.ranks(len(label))).sort().values

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over the chosen classes."""
        features = self.image_features(image)
        chosen = self.chosen(features, label)  # (K,)
        below = self.frozen("below", lambda: self.upper_text.below(self.layout)).index_select(0, chosen)
        ends = self.layout.lengths.index_select(0, chosen) - 1
        text = F.normalize(self.upper_text.features(below, ends, self.text_weights.parts() or TowerParts()), dim=-1)
        logits = self.logit_scale * features @ text.t()
        place = (chosen == label[:, None]).long().argmax(1)
        return {"loss": F.cross_entropy(logits, place), "acc": batch_accuracy(logits, place)}

    knowledge = property(lambda self: ["template of the dataset"])

    def rate_factors(self) -> dict[str, float]:
        return {"image_weights.": self.settings.IMAGE_LR_MULT}

    def extra_state(self) -> dict:
        return {"kept": self.kept}

    def load_extra_state(self, state: dict) -> None:
        kept = state.get("kept", self.kept)  # the release saves none
        if not isinstance(kept, list) or not all(isinstance(each, bool) for each in kept):
            raise CheckpointError("the ranks that SkipTuning keeps are no list of True and False")
        if len(kept) == len(self.kept):  # else of the trained classes, where others are tested
            self.kept = kept

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP."""
        towers = {"text_weights": "text_encoder", "image_weights": "image_encoder"}
        parts = (name.partition(".")[::2] for name in self.learned_parameters())
        return renamed(state, {f"{towers[k]}.{rest.replace('/', '.')}": f"{k}.{rest}" for k, rest in parts})


def chances(count: int, scale: float) -> Tensor:
    """The chance (count,) of each rank to be kept: an exponential from 1 to 0."""
    falling = torch.exp(-torch.linspace(0, 5, count, dtype=torch.float64) / scale)
    return (falling - falling.min()) / (falling.max() - falling.min()) if count > 1 else torch.zeros(count)
