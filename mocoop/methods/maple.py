"""MaPLe, multi-modal prompt learning (arXiv 2210.03117): visual prompts are projections of the text prompts."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from yacs.config import CfgNode

from mocoop.clip.backbone import Backbone
from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.coop import log_context, renamed
from mocoop.methods.deep_prompts import (
    before_blocks,
    beside_patches,
    check_depth,
    deep_rows,
    first_words,
    text_tower,
    visual_width,
    worded_layout,
)
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.one_prompt import OnePrompt
from mocoop.methods.registry import register_method

KEYS = (
    Key("N_CTX", 2, "context vectors of a prompt, and rows of each deeper block in both towers", at_least=1,
        at_most=75, structural=True),
    Key("CTX_INIT", "a photo of a", "words that the context starts from; those it has no room for stay fixed",
        structural=True),
    Key("PROMPT_DEPTH", 9, "blocks of each tower that get rows of their own, the first one included", at_least=1,
        structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("MaPLe", node="MAPLE", keys=KEYS, published="2022-10", title="multi-modal prompt learning")
class MaPLe(OnePrompt):
    """Learns `ctx` (n, W), `compound_prompts_text`: (n, W) for blocks 1, 2, ..., and what projects each to the images.

    `proj` maps the context, `compound_prompt_projections` the deeper rows; the latter all start as one layer.
    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    def __init__(self, cfg: CfgNode, classnames: Sequence[str], clip_model: Backbone, all_classnames=None):
        super().__init__(cfg, classnames, clip_model)
        settings, width = self.settings, visual_width(clip_model, "MaPLe")
        for tower in (text_tower(clip_model, "MaPLe"), clip_model.visual.transformer):
            check_depth("TRAINER.MAPLE.PROMPT_DEPTH", settings.PROMPT_DEPTH, tower)
        ctx, rest = first_words(settings.CTX_INIT, settings.N_CTX, clip_model)
        self.ctx = nn.Parameter(ctx)
        log_context(ctx, settings.CTX_INIT)
        self.layout = worded_layout(self.classnames, len(ctx), rest, clip_model.tokenizer)
        deeper = settings.PROMPT_DEPTH - 1
        self.compound_prompts_text = deep_rows(deeper, *ctx.shape)
        self.proj = nn.Linear(ctx.shape[1], width)
        first = nn.Linear(ctx.shape[1], width)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(first) for _ in range(deeper))

    def class_embeddings(self) -> Tensor:
        parts = TowerParts(deep=before_blocks(self.compound_prompts_text))
        return self.text_encoder([self.ctx], [self.layout], parts)[0]

    def image_parts(self) -> TowerParts:
        pairs = zip(self.compound_prompt_projections, self.compound_prompts_text)
        first = self.proj(self.ctx.to(self.proj.weight.dtype))
        return beside_patches([first, *(project(rows) for project, rows in pairs)])

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP; what is learned lies in its prompt learner."""
        kept = ("ctx", "compound_prompts_text.", "proj.", "compound_prompt_projections.")
        own = [name.removeprefix("prompt_learner.") for name in state if name.startswith("prompt_learner.")]
        names = {f"prompt_learner.{name}": name for name in own if name.startswith(kept)}
        return renamed(state, names)
