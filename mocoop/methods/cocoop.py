"""CoCoOp, conditional context optimisation (arXiv 2203.05557): a context shifted by each image's feature."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.openai import CLIP
from mocoop.methods.base import PromptMethod
from mocoop.methods.coop import coop_layout, noise_context, words_context
from mocoop.methods.keys import add_common_keys, common_problems

logger = logging.getLogger(__name__)


def add_cocoop_config(cfg: CfgNode) -> None:
    """Add TRAINER.COCOOP with CoOp's keys and defaults."""
    cfg.TRAINER.COCOOP = node = CfgNode()
    node.N_CTX = 16  # number of context vectors, where CTX_INIT is empty
    node.CTX_INIT = ""  # words whose embeddings the context starts from; their tokens give its length
    add_common_keys(node, prec="fp16")


def cocoop_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with TRAINER.COCOOP, one line each."""
    node = cfg.TRAINER.COCOOP
    problems = common_problems("COCOOP", node)
    if not node.CTX_INIT and node.N_CTX < 1:
        problems.append(f"TRAINER.COCOOP.N_CTX is {node.N_CTX}, expected 1 or more")
    return problems


class CoCoOp(PromptMethod):
    """Learns `ctx` (n, width) and `meta_net`, which maps an image feature to a shift of all context vectors.

    The meta-net is two linear layers with a ReLU, its hidden width a sixteenth of the feature's (paper, section 3.2).
    """

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, n_ctx: int = 16, ctx_init: str = "", **encoder):
        super().__init__(classnames, clip_model, **encoder)
        ctx = words_context(ctx_init, clip_model) if ctx_init else noise_context(n_ctx, clip_model=clip_model)
        self.ctx = nn.Parameter(ctx)
        features, width = clip_model.text_projection.shape[1], ctx.shape[1]
        layers = OrderedDict(
            linear1=nn.Linear(features, features // 16),
            relu=nn.ReLU(inplace=True),
            linear2=nn.Linear(features // 16, width),
        )
        self.meta_net = nn.Sequential(layers).to(clip_model.dtype)
        self.layout = coop_layout(self.classnames, len(ctx), "end")
        logger.info("context of %d tokens, starting from %s", len(ctx), repr(ctx_init) if ctx_init else "noise")

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        shift = self.meta_net(image_features).unsqueeze(1)  # (B, 1, width)
        contexts = (self.ctx + shift).unbind(0)  # B of (n, width)
        text_features = self.text_encoder(contexts, [self.layout] * len(contexts))  # (B, C, D)
        scores = torch.einsum("bd,bcd->bc", image_features, F.normalize(text_features, dim=-1))
        return {"logits": self.logit_scale * scores}


def build_cocoop(cfg: CfgNode, classnames, clip_model, all_classnames=None) -> CoCoOp:
    node = cfg.TRAINER.COCOOP
    return CoCoOp(
        classnames,
        clip_model,
        n_ctx=node.N_CTX,
        ctx_init=node.CTX_INIT,
        text_encoder=node.TEXT_ENCODER,
        text_chunk=node.TEXT_CHUNK,
    )
