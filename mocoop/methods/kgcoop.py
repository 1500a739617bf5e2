"""KgCoOp, knowledge-guided context optimisation (arXiv 2303.13283): CoOp held near a hand-written prompt."""

from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.templates import anchor_template
from mocoop.methods.base import batch_accuracy
from mocoop.methods.coop import coop_layout, only_ctx, start_context
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 4, "number of context vectors, if CTX_INIT is empty", at_least=1, at_most=75, structural=True),
    Key("CTX_INIT", "a photo of a", "words that the context starts from", structural=True),
    Key("W", 8.0, "weight of the distance to the hand-written prompt", at_least=0.0),
    *common_keys(prec="fp16"),
)


def anchor_distance(text_features: Tensor, anchors: Tensor) -> Tensor:
    """1 - the mean cosine of normalised features (C, D) with theirs, half of the paper's mean squared distance."""
    return 1 - F.cosine_similarity(text_features, anchors.to(text_features.dtype), dim=-1, eps=1e-7).mean()


@register_method("KgCoOp", node="KGCOOP", keys=KEYS, published="2023-03", title="knowledge-guided context optimisation",
                 expert=True, dept_base=True)  # fmt: skip
class KgCoOp(OnePrompt):
    """Learns `ctx` (n, width)."""

    anchors_of = "KgCoOp"  # the method whose authors' templates these are
    own_names = staticmethod(only_ctx)
    knowledge = property(lambda self: ["template of the dataset"])

    def setup(self) -> None:
        self.ctx = start_context(self.settings, self.clip_model)
        self.layout = coop_layout(self.classnames, len(self.ctx), "end", tokenizer=self.clip_model.tokenizer)
        self.template = anchor_template(self.anchors_of, self.cfg.DATASET.NAME)

    def anchors(self) -> Tensor:
        """Features (C, D) of the classes' hand-written prompts."""
        return self.frozen("anchors", lambda: template_features(self.text_encoder, [self.template], self.classnames))

    def loss_of_features(self, image_features: Tensor, text_features: Tensor, label: Tensor) -> dict[str, Tensor]:
        logits = self.logit_scale * image_features @ text_features.t()
        ce, kg = F.cross_entropy(logits, label), anchor_distance(text_features, self.anchors())
        return {"loss": ce + self.settings.W * kg, "loss_ce": ce, "loss_kg": kg, "acc": batch_accuracy(logits, label)}
