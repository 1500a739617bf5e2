"""CoOp, context optimisation (arXiv 2109.01134): one soft prompt, shared by all classes or one for each."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.openai import CLIP
from mocoop.clip.prompts import Context, PromptLayout, embed_words, readable
from mocoop.methods.base import PromptMethod
from mocoop.methods.keys import add_common_keys, choice_problems, common_problems

POSITIONS = ("end", "middle", "front")

logger = logging.getLogger(__name__)


def add_coop_config(cfg: CfgNode) -> None:
    """Add TRAINER.COOP with CoOp's keys and defaults."""
    cfg.TRAINER.COOP = node = CfgNode()
    node.N_CTX = 16  # number of context vectors, where CTX_INIT is empty
    node.CSC = False  # class-specific context: vectors of its own for each class
    node.CTX_INIT = ""  # words whose embeddings the context starts from; their tokens give its length
    node.CLASS_TOKEN_POSITION = "end"  # where the class name stands: end, middle or front of the context
    add_common_keys(node, prec="fp16")


def coop_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with TRAINER.COOP, one line each."""
    node = cfg.TRAINER.COOP
    problems = common_problems("COOP", node)
    problems += choice_problems("TRAINER.COOP", node, CLASS_TOKEN_POSITION=POSITIONS)
    if not node.CTX_INIT and node.N_CTX < 1:
        problems.append(f"TRAINER.COOP.N_CTX is {node.N_CTX}, expected 1 or more")
    return problems


def words_context(words: str, clip_model: CLIP) -> Tensor:
    """Context vectors (n, width) that start as the embeddings of the n tokens of some words."""
    return embed_words(readable(words), clip_model.token_embedding).to(clip_model.dtype)


def noise_context(*shape: int, clip_model: CLIP) -> Tensor:
    """Context vectors (*shape, width) drawn from N(0, 0.02^2)."""
    width = clip_model.ln_final.weight.shape[0]
    return nn.init.normal_(torch.empty(*shape, width, dtype=clip_model.dtype), std=0.02)


class CoOp(PromptMethod):
    """Learns `ctx`: (n, width), or (C, n, width) with class-specific contexts.

    Args:
        n_ctx, ctx_init, csc, position: TRAINER.COOP.N_CTX, CTX_INIT, CSC, CLASS_TOKEN_POSITION.
        encoder: `text_encoder` and `text_chunk` of `PromptMethod`.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        n_ctx: int = 16,
        ctx_init: str = "",
        csc: bool = False,
        position: str = "end",
        **encoder,
    ):
        super().__init__(classnames, clip_model, **encoder)
        if ctx_init:  # words are shared by all classes, as in CoOp, whatever CSC says
            ctx = words_context(ctx_init, clip_model)
        else:
            shape = (len(self.classnames), n_ctx) if csc else (n_ctx,)
            ctx = noise_context(*shape, clip_model=clip_model)
        self.ctx = nn.Parameter(ctx)
        self.layout = coop_layout(self.classnames, ctx.shape[-2], position, class_specific=ctx.dim() == 3)
        logger.info("context of %d tokens, starting from %s", ctx.shape[-2], repr(ctx_init) if ctx_init else "noise")

    def encode_classes(self) -> Tensor:
        ctx = self.ctx.flatten(0, -2)  # (n, width), or (C * n, width)
        return F.normalize(self.text_encoder([ctx], [self.layout])[0], dim=-1)


def coop_layout(classnames: Sequence[str], n_ctx: int, position: str, class_specific: bool = False) -> PromptLayout:
    """[SOT] [context] [class] [.] [EOT], the class name at the end, in the middle or at the front of the context."""
    prompts = []
    for c, name in enumerate(map(readable, classnames)):
        start = c * n_ctx if class_specific else 0
        if position == "end":
            prompts.append([Context(start, n_ctx), name + "."])
        elif position == "middle":
            half = n_ctx // 2
            prompts.append([Context(start, half), name, Context(start + half, n_ctx - half), "."])
        else:
            prompts.append([name, Context(start, n_ctx), "."])
    return PromptLayout(prompts, names=classnames)


def build_coop(cfg: CfgNode, classnames, clip_model, all_classnames=None) -> CoOp:
    node = cfg.TRAINER.COOP
    return CoOp(
        classnames,
        clip_model,
        n_ctx=node.N_CTX,
        ctx_init=node.CTX_INIT,
        csc=node.CSC,
        position=node.CLASS_TOKEN_POSITION,
        text_encoder=node.TEXT_ENCODER,
        text_chunk=node.TEXT_CHUNK,
    )
