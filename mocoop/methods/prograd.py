"""ProGrad, prompt-aligned gradient (arXiv 2205.14865): CoOp that takes no step against what CLIP knows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.prompts import split_words
from mocoop.clip.templates import anchor_template, split_template
from mocoop.methods.base import batch_accuracy
from mocoop.methods.coop import log_context, noise_context, only_ctx, words_context
from mocoop.methods.deep_prompts import worded_layout
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 16, "number of context vectors", at_least=1, at_most=75, structural=True),
    Key("CTX_INIT", True, "start the last ones from the words of the dataset's template", structural=True),
    Key("LAMBDA", 1.0, "share of the conflicting gradient that is taken away", at_least=0.0),
    Key("T", 1.0, "temperature of the distillation from zero-shot CLIP", at_least=1e-3),
    *common_keys(prec="fp16"),
)


@register_method("ProGrad", node="PROGRAD", keys=KEYS, published="2022-05", title="prompt-aligned gradient")
class ProGrad(OnePrompt):
    """Learns `ctx` (n, width)."""

    own_names = staticmethod(only_ctx)
    knowledge = property(lambda self: ["template of the dataset"])

    def setup(self) -> None:
        self.template = anchor_template("ProGrad", self.cfg.DATASET.NAME)
        words = split_template(self.template)[0] if self.settings.CTX_INIT else ""
        ctx, rest = padded_context(words, self.settings.N_CTX, self.clip_model)
        self.ctx = nn.Parameter(ctx)
        log_context(ctx, words)
        self.layout = worded_layout(self, len(ctx), rest)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, which is minimised, and the distillation loss, whose gradient it must not go against."""
        teacher = self.frozen("teacher", lambda: template_features(self.text_encoder, [self.template], self.classnames))
        features = self.image_features(image)
        logits = self.predict_features(features)["logits"]
        taught = self.logit_scale * features @ teacher.to(features.dtype).t()
        temperature = self.settings.T
        log_p = F.log_softmax(logits / temperature, dim=-1)
        kl = -(F.softmax(taught / temperature, dim=-1) * log_p).sum(-1).mean() * temperature**2
        return {"loss": F.cross_entropy(logits, label), "loss_kl": kl, "acc": batch_accuracy(logits, label)}

    def backward(self, parts: dict[str, Tensor]) -> None:
        learned = list(self.learned_parameters().values())
        general = torch.autograd.grad(parts["loss_kl"], learned, retain_graph=True)
        own = torch.autograd.grad(parts["loss"], learned)
        for p, g, g_kl in zip(learned, own, general):
            p.grad = without_conflict(g, g_kl, self.settings.LAMBDA)


def padded_context(words: str, length: int, clip_model: Backbone) -> tuple[Tensor, str]:
    """Context (length, width) that ends in the words' embeddings, and the words that stay fixed behind it.

    As released, as many tokens are learned as there are words: where a comma makes one more, the last word is fixed.
    Raises ConfigError for more words than vectors, where these end within a word.
    """
    if not words:
        return noise_context(length, clip_model=clip_model), ""
    first, rest = split_words(words, min(len(words.split()), length), clip_model.tokenizer)
    ctx = words_context(first, clip_model)
    return F.pad(ctx, (0, 0, length - len(ctx), 0)), rest


def without_conflict(g: Tensor, g_kl: Tensor, share: float) -> Tensor:
    """g without `share` of its part along g_kl where the two point apart by more than 90 degrees (paper, eq. 4)."""
    direction = g_kl.float() / g_kl.float().norm()
    along = (g.float() * direction).sum()
    return torch.where(along < 0, g.float() - share * along * direction, g.float()).to(g.dtype)
