"""MaPLe, multi-modal prompt learning (arXiv 2210.03117): visual prompts are projections of the text prompts."""

import copy

from torch import Tensor, nn

from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.coop import renamed
from mocoop.methods.deep_prompts import (
    before_blocks,
    beside_patches,
    check_depth,
    deep_rows,
    image_tower,
    start_from_words,
    text_tower,
)
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 2, "context vectors of a prompt, and rows of each deeper block in both towers", at_least=1,
        at_most=75, structural=True),
    Key("CTX_INIT", "a photo of a", "words that the context starts from; those it has no room for stay fixed",
        structural=True),
    Key("PROMPT_DEPTH", 9, "blocks of each tower that get rows of their own, the first one included", at_least=1,
        structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("MaPLe", node="MAPLE", keys=KEYS, published="2022-10", title="multi-modal prompt learning",
                 expert=True, dept_base=True)  # fmt: skip
class MaPLe(OnePrompt):
    """Learns `ctx` (n, W), `compound_prompts_text`: (n, W) for blocks 1, 2, ..., and what projects each to the images.

    `proj` maps the context, `compound_prompt_projections` the deeper rows; the latter all start as one layer.
    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    def setup(self) -> None:
        visual, width = image_tower(self)
        for tower in (text_tower(self), visual):
            check_depth(self, "PROMPT_DEPTH", tower)
        start_from_words(self, self.settings.N_CTX)
        deeper, text_width = self.settings.PROMPT_DEPTH - 1, self.ctx.shape[1]
        self.compound_prompts_text = deep_rows(deeper, *self.ctx.shape)
        self.proj, first = nn.Linear(text_width, width), nn.Linear(text_width, width)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(first) for _ in range(deeper))

    def text_parts(self) -> TowerParts:
        return TowerParts(rows=before_blocks(self.compound_prompts_text))

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
