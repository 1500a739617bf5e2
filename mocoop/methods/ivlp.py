"""IVLP, independent vision-language prompting: deep prompts in both towers (baseline of arXiv 2210.03117).

Without visual rows (PROMPT_DEPTH_VISION 0) it is deep language prompting.
"""

from torch import Tensor, nn

from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.coop import renamed
from mocoop.methods.deep_prompts import (
    before_blocks,
    beside_patches,
    check_depth,
    deep_rows,
    image_tower,
    released_rows,
    start_from_words,
    text_tower,
)
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import OnePrompt
from mocoop.registry import register_method

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


@register_method("IVLP", node="IVLP", keys=KEYS, published="2022-10", title="independent vision-language prompting",
                 expert=True, dept_base=True)  # fmt: skip
class IVLP(OnePrompt):
    """Learns `ctx` (n, W), `text_prompts`: (n, W) for blocks 1, 2, ..., `visual_prompts`: (m, W') for blocks 0, 1, ...

    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    def setup(self) -> None:
        settings = self.settings
        check_depth(self, "PROMPT_DEPTH_TEXT", text_tower(self))
        self.start_prompt()
        self.text_prompts = deep_rows(settings.PROMPT_DEPTH_TEXT - 1, *self.ctx.shape)
        self.visual_prompts = nn.ParameterList()
        if settings.PROMPT_DEPTH_VISION and settings.N_CTX_VISION:
            tower, width = image_tower(self)
            check_depth(self, "PROMPT_DEPTH_VISION", tower)
            self.visual_prompts = deep_rows(settings.PROMPT_DEPTH_VISION, settings.N_CTX_VISION, width)

    def start_prompt(self) -> None:
        """Make `ctx` and `layout`."""
        start_from_words(self, self.settings.N_CTX_TEXT)

    def text_parts(self) -> TowerParts:
        return TowerParts(rows=before_blocks(self.text_prompts))

    def image_parts(self) -> TowerParts | None:
        return beside_patches(self.visual_prompts) if len(self.visual_prompts) else None

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return renamed(state, {"prompt_learner.ctx": "ctx"} | released_rows(state))
