"""LASP, language-aware soft prompting (arXiv 2210.01115): soft prompts told apart by hand-written ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.templates import template_bank
from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.base import PromptMethod, batch_accuracy
from mocoop.methods.class_rows import taught_classes
from mocoop.methods.coop import coop_layout, renamed, start_context
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import LayerNorms
from mocoop.registry import register_method

SHARED_KEYS = (  # with MoCoOp
    Key("FINETUNE_VIT_LN", True, "learn every ln_1 and ln_2 of the image transformer (released)", structural=True),
    Key("LN_LR_MULT", 0.1, "their factor on the learning rate (released: 0.1)", at_least=0.0),
    Key("TEXT_LOSS_CLASSES", "all", "all: base and new names, if trained on base (released); train: trained ones",
        ("all", "train")),
    Key("GRAD_CLIP_NORM", 1.0, "largest norm of the gradient (released: 1); 0: no clipping", at_least=0.0),
    Key("GRAD_CLIP_WHEN", "amp", "amp: only with PREC amp (released); always", ("amp", "always")),
    *common_keys(prec="amp"),
)  # fmt: skip
KEYS = (
    Key("N_CTX", 4, "number of context vectors, if CTX_INIT is empty", at_least=1, at_most=75, structural=True),
    Key("CTX_INIT", "a photo of a", "words that the context starts from", structural=True),
    Key("CORRECTION", True, "learn a vector that is added to all text features (released)", structural=True),
    Key("TEXT_LOSS_WEIGHT", 5.0, "weight of the text-to-text loss (released: 5, or 10 where 50 epochs)", at_least=0.0),
    Key("NOISE", 0.05, "deviation of the noise on the hand-written features, in half of the steps", at_least=0.0),
    *SHARED_KEYS,
)


@register_method("LASP", node="LASP", keys=KEYS, published="2022-10", title="language-aware soft prompting")
class LASP(PromptMethod):
    """Learns `ctx` (n, width), by choice `correction` (1, D) and the image tower's LayerNorms."""

    trained_rows: Tensor  # (C,) rows of the taught classes

    def setup(self) -> None:
        self.ctx = start_context(self.settings, self.clip_model)
        if self.settings.CORRECTION:
            self.correction = nn.Parameter(torch.zeros(1, self.clip_model.embed_dim, dtype=self.clip_model.dtype))
        self.layer_norms = LayerNorms(self.clip_model.visual if self.settings.FINETUNE_VIT_LN else None)
        self.taught_classnames, rows = taught_classes(self, self.settings.TEXT_LOSS_CLASSES)
        self.register_buffer("trained_rows", rows, persistent=False)
        self.layout, self.taught_layout = (
            coop_layout(names, len(self.ctx), "end", tokenizer=self.clip_model.tokenizer)
            for names in (self.classnames, self.taught_classnames)
        )

    def image_parts(self) -> TowerParts | None:
        return self.layer_norms.parts()

    def encode_classes(self) -> Tensor:
        return self._encode(self.layout)

    def _encode(self, layout: PromptLayout) -> Tensor:
        features = self.text_encoder([self.ctx], [layout])[0]
        return F.normalize(features + self.correction if self.settings.CORRECTION else features, dim=-1)

    def bank(self) -> Tensor:
        """Features (T, C', D) of the hand-written templates with the names of the taught classes; frozen."""
        templates = template_bank("LASP")
        return self.frozen("bank", lambda: hard_features(self.text_encoder, templates, self.taught_classnames))

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        taught = self._encode(self.taught_layout)  # (C', D)
        logits = self.logit_scale * self.image_features(image) @ taught[self.trained_rows].t()
        bank = self.bank()
        noise = torch.randn_like(bank) * (torch.rand((), device=bank.device) < 0.5)  # in half of the steps
        bank = bank + self.settings.NOISE * noise
        ce, text = F.cross_entropy(logits, label), text_to_text_loss(taught, bank.to(taught.dtype), self.logit_scale)
        total = ce + self.settings.TEXT_LOSS_WEIGHT * text
        return {"loss": total, "loss_ce": ce, "loss_text": text, "acc": batch_accuracy(logits, label)}

    def rate_factors(self) -> dict[str, float]:
        return {"layer_norms.": self.settings.LN_LR_MULT}

    @property
    def knowledge(self) -> list[str]:
        more = ["names of the new classes"] if len(self.taught_classnames) > len(self.classnames) else []
        return ["templates of several datasets", *more]

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP; `w` is the correction, at its learner, and LayerNorms lie in the tower."""
        names = {"prompt_learner.ctx": "ctx", "prompt_learner.w": "correction", "w": "correction"}
        norms = [name for name, _ in self.layer_norms.named_parameters()]
        return renamed(state, names | {f"image_encoder.{n.replace('/', '.')}": f"layer_norms.{n}" for n in norms})


def text_to_text_loss(soft: Tensor, bank: Tensor, scale: Tensor) -> Tensor:
    """Each hand-written feature is told from the learned ones of other classes (paper, eq. 5; softmax as released).

    Args:
        soft: (C, D) normalised features of the soft prompt. bank: (T, C, D) features of T templates.
    """
    logits = scale * torch.einsum("id,kjd->kji", soft, bank)  # (T, C, C): over the learned classes i
    target = torch.arange(len(soft), device=soft.device).expand(len(bank), -1)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())
