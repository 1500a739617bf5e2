"""IVLP, independent vision-language prompting: deep prompts in both towers (baseline of arXiv 2210.03117).

Without visual rows (PROMPT_DEPTH_VISION 0) it is deep language prompting.
"""

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
    Key("N_CTX_TEXT", 2, "context vectors of a prompt, and rows of each deeper block", at_least=1, at_most=75,
        structural=True),
    Key("N_CTX_VISION", 2, "rows beside an image's patches", at_least=0, at_most=1024, structural=True),
    Key("CTX_INIT", "a photo of a", "words that the context starts from; those it has no room for stay fixed",
        structural=True),
    Key("PROMPT_DEPTH_TEXT", 12, "blocks of the text tower that get rows of their own, the first one included",
        at_least=1, structural=True),
    Key("PROMPT_DEPTH_VISION", 12, "the same of the image tower; 0: no rows there", at_least=0, structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("IVLP", node="IVLP", keys=KEYS, published="2022-10", title="independent vision-language prompting")
class IVLP(OnePrompt):
    """Learns `ctx` (n, W), `text_prompts`: (n, W) for blocks 1, 2, ..., `visual_prompts`: (m, W') for blocks 0, 1, ...

    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    def __init__(self, cfg: CfgNode, classnames: Sequence[str], clip_model: Backbone, all_classnames=None):
        super().__init__(cfg, classnames, clip_model)
        settings, node = self.settings, f"TRAINER.{self.entry.node}"
        tower = text_tower(clip_model, self.entry.name)
        check_depth(f"{node}.PROMPT_DEPTH_TEXT", settings.PROMPT_DEPTH_TEXT, tower)
        ctx, rest = first_words(settings.CTX_INIT, settings.N_CTX_TEXT, clip_model)
        self.ctx = nn.Parameter(ctx)
        log_context(ctx, settings.CTX_INIT)
        self.layout = worded_layout(self.classnames, len(ctx), rest, clip_model.tokenizer)
        self.text_prompts = deep_rows(settings.PROMPT_DEPTH_TEXT - 1, *ctx.shape)
        self.visual_prompts = nn.ParameterList()
        if settings.PROMPT_DEPTH_VISION and settings.N_CTX_VISION:
            width = visual_width(clip_model, self.entry.name)
            check_depth(f"{node}.PROMPT_DEPTH_VISION", settings.PROMPT_DEPTH_VISION, clip_model.visual.transformer)
            self.visual_prompts = deep_rows(settings.PROMPT_DEPTH_VISION, settings.N_CTX_VISION, width)

    def class_embeddings(self) -> Tensor:
        parts = TowerParts(deep=before_blocks(self.text_prompts))
        return self.text_encoder([self.ctx], [self.layout], parts)[0]

    def image_parts(self) -> TowerParts | None:
        return beside_patches(self.visual_prompts) if len(self.visual_prompts) else None

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP, and prompts where they are put in."""
        names = {"prompt_learner.ctx": "ctx", "image_encoder.VPT": "visual_prompts.0"}
        for name in (name for name in state if name.endswith(".VPT_shallow")):
            tower, _, _, block, _ = name.split(".")
            is_text = tower == "text_encoder"
            names[name] = f"text_prompts.{int(block) - 1}" if is_text else f"visual_prompts.{block}"
        return renamed(state, names)
