"""DePT, decoupled prompt tuning (arXiv 2309.07439): beside a method with one prompt, a head for the trained classes."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import quoted
from mocoop.methods.base import PromptMethod
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.registry import get_method, methods, register_method

KEYS = (
    Key("BASE", "KgCoOp", "the method that it is added to; the keys of that one's node count", structural=True),
    Key("WEIGHT", 0.7, "weight of the head, in the loss and on the trained classes", at_least=0.0, at_most=1.0,
        structural=True),
    Key("HEAD_LR_MULT", 6.5, "the head's factor on the learning rate", at_least=0.0),
    *common_keys(prec="fp16"),
)  # fmt: skip


def base_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with BASE, or with the keys of the method that it names."""
    name, known = cfg.TRAINER.DEPT.BASE, [name for name, entry in methods().items() if entry.dept_base]
    if name not in known:
        return [f"TRAINER.DEPT.BASE is {quoted(name)}, expected one of {', '.join(known)}"]
    return get_method(name).problems(cfg)


class FiLM(nn.Module):
    """A factor and an offset for each of D channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale.to(x.dtype) * x + self.bias.to(x.dtype)


@register_method("DePT", node="DEPT", keys=KEYS, published="2023-09", title="decoupled prompt tuning",
                 problems=base_problems, trained_classes=True, export=None)  # fmt: skip
class DePT(PromptMethod):
    """Learns `base`, and a head of the trained classes with transformed features: `linear_probe_proj`, `film_lp_*`.

    The head takes CLIP's features as they are, not normalised. Where all tested classes are trained ones, its scores
    are mixed with those of the base; if not, the base's stand alone.
    """

    unit_features = False
    base: OnePrompt

    def setup(self) -> None:
        given = self.cfg, self.classnames, self.clip_model, self.all_classnames
        self.base = cast(OnePrompt, get_method(self.settings.BASE).build(*given))  # it is one if it is a dept_base
        self.base.text_encoder, self.base.image_encoder = self.text_encoder, self.image_encoder
        channels = self.clip_model.embed_dim
        self.film_lp_img, self.film_lp_text = FiLM(channels), FiLM(channels)
        self.linear_probe_proj = nn.Linear(channels, len(self.trained_classnames)).to(self.clip_model.dtype)

    def image_parts(self) -> TowerParts | None:
        return self.base.image_parts()

    def encode_classes(self) -> Tensor:
        return self.base.encode_classes()

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        logits = self.logit_scale * F.normalize(image_features, dim=-1) @ self.class_features().t() + self.logit_bias
        if self.all_trained:
            linear = self.linear_probe_proj(self.film_lp_img(image_features))[:, self.rows]
            logits = (1 - self.settings.WEIGHT) * logits + self.settings.WEIGHT * linear
        return {"logits": logits}

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        features, text = self.image_features(image), self.base.class_embeddings()
        parts = self.base.loss_of_features(F.normalize(features, dim=-1), F.normalize(text, dim=-1), label)
        seen = torch.cat([self.film_lp_text(text)[label], self.film_lp_img(features)])  # (2 B, D)
        ce, linear = parts.get("loss_ce", parts["loss"]), F.cross_entropy(self.linear_probe_proj(seen), label.repeat(2))
        total = parts["loss"] + self.settings.WEIGHT * (linear - ce)
        return {**parts, "loss": total, "loss_ce": ce, "loss_linear": linear}

    def resting(self) -> dict[nn.Parameter, Tensor]:
        return self.base.resting()

    def after_step(self) -> None:
        self.base.after_step()

    def after_epoch(self, epoch: int, epochs: int) -> None:
        self.base.after_epoch(epoch, epochs)

    def rate_factors(self) -> dict[str, float]:
        of_base = {f"base.{name}": factor for name, factor in self.base.rate_factors().items()}
        return of_base | {"base.": 1.0, "": self.settings.HEAD_LR_MULT}

    @property
    def knowledge(self) -> list[str]:
        return self.base.knowledge

    def bound_to_classes(self) -> str | None:
        return self.base.bound_to_classes()

    def structure(self) -> dict:
        base = {self.base.entry.node: self.base.structure()}
        return super().structure() | base

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP, and what the base learns under its prompt learner."""
        if not any(name.startswith("prompt_learner.") for name in state):
            return state
        base = {f"prompt_learner.{name}": f"base.{name}" for name in self.base.learned_parameters()}
        own = {name: name for name in self.learned_parameters() if not name.startswith("base.")}
        return {ours: state[theirs] for theirs, ours in (base | own).items() if theirs in state}
