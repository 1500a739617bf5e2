"""CoOp, context optimisation (arXiv 2109.01134): one soft prompt, shared by all classes or one for each."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mocoop.clip.backbone import Backbone
from mocoop.clip.openai import TOKENIZER
from mocoop.clip.prompts import Context, PromptLayout, embed_words, readable
from mocoop.clip.tokenizer import Tokenizer
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.registry import register_method

POSITIONS = ("end", "middle", "front")
KEYS = (
    Key("N_CTX", 16, "number of context vectors, if CTX_INIT is empty", at_least=1, at_most=75, structural=True),
    Key("CSC", False, "class-specific context: vectors of its own for each class", structural=True),
    Key("CTX_INIT", "", "words that the context starts from; their tokens give its length", structural=True),
    Key("CLASS_TOKEN_POSITION", "end", "where the class name stands in the context", POSITIONS, structural=True),
    *common_keys(prec="fp16"),
)

logger = logging.getLogger(__name__)


def only_ctx(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without what trainers save beside the context: embeddings of class names, and layers that none uses."""
    return {name: value for name, value in state.items() if name == "ctx"}


def without_class_embeddings(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without the embeddings of the class names that trainers of CoOp's kind save beside what they learned."""
    return {name: value for name, value in state.items() if name not in ("token_prefix", "token_suffix")}


@register_method("CoOp", node="COOP", keys=KEYS, published="2021-09", title="context optimisation",
                 expert=True, dept_base=True)  # fmt: skip
class CoOp(OnePrompt):
    """Learns `ctx`: (n, width), or (C, n, width) with class-specific contexts."""

    own_names = staticmethod(without_class_embeddings)

    def setup(self) -> None:
        settings, classes = self.settings, [len(self.classnames)] if self.settings.CSC else []
        self.ctx = start_context(settings, self.clip_model, *classes)
        length, own = self.ctx.shape[-2], self.ctx.dim() == 3
        self.class_rows = ("ctx",) if own else ()
        self.layout = coop_layout(
            self.classnames, length, settings.CLASS_TOKEN_POSITION, own, self.clip_model.tokenizer
        )

    def bound_to_classes(self) -> str | None:
        return "a context for each trained class (TRAINER.COOP.CSC)" if self.class_rows else None


def words_context(words: str, clip_model: Backbone) -> Tensor:
    """Context vectors (n, width) that start as the embeddings of the n tokens of some words."""
    return embed_words(readable(words), clip_model).to(clip_model.dtype)


def noise_context(*shape: int, clip_model: Backbone) -> Tensor:
    """Context vectors (*shape, width) drawn from N(0, 0.02^2)."""
    return nn.init.normal_(torch.empty(*shape, clip_model.text_width, dtype=clip_model.dtype), std=0.02)


def start_context(settings: CfgNode, clip_model: Backbone, *classes: int) -> nn.Parameter:
    """The context (n, width) of a method with the keys CTX_INIT and N_CTX: from words, which all classes share, else
    from noise, (C, n, width) where each of the `classes` has its own.
    """
    words = readable(settings.CTX_INIT).strip()
    ctx = words_context(words, clip_model) if words else noise_context(*classes, settings.N_CTX, clip_model=clip_model)
    log_context(ctx, words)
    return nn.Parameter(ctx)


def log_context(ctx: Tensor, words: str) -> None:
    logger.info("context of %d tokens, starting from %s", ctx.shape[-2], repr(words) if words else "noise")


def coop_layout(
    classnames: Sequence[str], n_ctx: int, position: str, class_specific: bool = False, tokenizer: Tokenizer = TOKENIZER
) -> PromptLayout:
    """[SOT] [context] [class] [.] [EOT], the class name at the end, in the middle or at the front of the context."""
    prompts: list[list[str | Context]] = []
    for c, name in enumerate(map(readable, classnames)):
        start = c * n_ctx if class_specific else 0
        if position == "end":
            prompts.append([Context(start, n_ctx), name + "."])
        elif position == "middle":
            half = n_ctx // 2
            prompts.append([Context(start, half), name, Context(start + half, n_ctx - half), "."])
        else:
            prompts.append([name, Context(start, n_ctx), "."])
    return PromptLayout(prompts, classnames, tokenizer)


def renamed(state: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Of a state that holds all of CLIP, what has a name here: {theirs: ours}. Any other state as it is."""
    if not any(name in state for name in names):
        return state
    return {ours: state[theirs] for theirs, ours in names.items() if theirs in state}
