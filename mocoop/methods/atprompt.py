"""ATPrompt, attribute-embedded prompts (arXiv 2412.09442): CoOp with fixed words for attributes in its context."""

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mocoop.clip.prompts import Context, PromptLayout, readable
from mocoop.errors import quoted
from mocoop.methods.coop import log_context, noise_context, without_class_embeddings
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 2, "context vectors before the class name", at_least=1, at_most=75, structural=True),
    Key("ATTRIBUTES", ("color", "shape"), "the attributes' words, in order (ImageNet's by default)", structural=True),
    Key("N_ATT", 2, "context vectors before each attribute", at_least=1, at_most=75, structural=True),
    *common_keys(prec="fp16"),
)
STD = 0.01  # of the attributes' context; the rest starts as CoOp's


def attribute_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with ATTRIBUTES."""
    words = cfg.TRAINER.ATPROMPT.ATTRIBUTES
    if words and all(isinstance(word, str) and word.strip() for word in words):
        return []
    return [f"TRAINER.ATPROMPT.ATTRIBUTES is {quoted(words)}, expected one word or more, as in ('color', 'shape')"]


@register_method("ATPrompt", node="ATPROMPT", keys=KEYS, published="2024-12", title="CoOp with words for attributes",
                 problems=attribute_problems, dept_base=True)  # fmt: skip
class ATPrompt(OnePrompt):
    """Learns `ctx` (A m + n, width): m vectors before each of A attributes, n before the class name."""

    def setup(self) -> None:
        settings, clip_model = self.settings, self.clip_model
        of_attributes, count = len(settings.ATTRIBUTES) * settings.N_ATT, settings.N_CTX
        ctx = noise_context(of_attributes + count, clip_model=clip_model)
        ctx[:of_attributes].normal_(std=STD)
        self.ctx = nn.Parameter(ctx)
        pieces = []
        for i, word in enumerate(settings.ATTRIBUTES):
            pieces += [Context(i * settings.N_ATT, settings.N_ATT), word]
        prompts = [[*pieces, Context(of_attributes, count), readable(name) + "."] for name in self.classnames]
        self.layout = PromptLayout(prompts, self.classnames, clip_model.tokenizer)
        log_context(ctx, "")

    @property
    def knowledge(self) -> list[str]:
        return ["attributes that a language model named"]

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release keeps three contexts of attributes, of which as many are used as there are attributes."""
        if "ctx_att1" not in state:
            return without_class_embeddings(state)
        own = [f"ctx_att{i}" for i in range(1, 1 + len(self.settings.ATTRIBUTES))]
        return {"ctx": torch.cat([state[name] for name in (*own, "ctx") if name in state])}
