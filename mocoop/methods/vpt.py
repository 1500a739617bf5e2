"""VPT, visual prompt tuning for CLIP: deep prompts in the image tower alone (baseline of arXiv 2210.03117)."""

from torch import Tensor

from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.base import PromptMethod
from mocoop.methods.coop import renamed
from mocoop.methods.deep_prompts import beside_patches, check_depth, deep_rows, image_tower, released_rows
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX_VISION", 8, "rows beside an image's patches", at_least=1, at_most=1024, structural=True),
    Key("PROMPT_DEPTH_VISION", 12, "blocks that get rows of their own, the first one included", at_least=1,
        structural=True),
    Key("CTX_INIT", "a photo of a", "words before the class name; nothing of them is learned", structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("VPT", node="VPT", keys=KEYS, published="2022-03", title="visual prompt tuning",
                 expert=True)  # fmt: skip
class VPT(PromptMethod):
    """Learns `visual_prompts`: (m, W') for blocks 0, 1, ... Raises ConfigError as IVLP does."""

    def setup(self) -> None:
        settings, (tower, width) = self.settings, image_tower(self)
        check_depth(self, "PROMPT_DEPTH_VISION", tower)
        self.visual_prompts = deep_rows(settings.PROMPT_DEPTH_VISION, settings.N_CTX_VISION, width)

    def encode_classes(self) -> Tensor:
        template = f"{self.settings.CTX_INIT} {{}}.".strip()
        fixed = self.frozen("text", lambda: template_features(self.text_encoder, [template], self.classnames))
        return fixed.to(self.dtype)

    def image_parts(self) -> TowerParts:
        return beside_patches(self.visual_prompts)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return renamed(state, released_rows(state))
