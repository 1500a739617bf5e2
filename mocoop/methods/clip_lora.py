"""CLIP-LoRA (arXiv 2405.18541): low-rank updates of the attention of both towers."""

import math
from collections.abc import Sequence

from mocoop.clip.backbone import Transformer
from mocoop.clip.lora import LoRA
from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.deep_prompts import image_tower, text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import TunedTowers, module_list
from mocoop.registry import register_method

KEYS = (
    Key("RANK", 2, "rank of each update", at_least=1, at_most=1024, structural=True),
    Key("ALPHA", 1.0, "an update is multiplied by ALPHA / sqrt(RANK)", at_least=0.0, structural=True),
    Key("DROPOUT", 0.25, "share of an update's inputs that are dropped in training", at_least=0.0, at_most=1.0),
    Key("TOWERS", "both", "which towers are updated: text, image or both", ("both", "text", "image"), structural=True),
    *common_keys(prec="amp"),
)


@register_method("CLIPLoRA", node="CLIPLORA", keys=KEYS, published="2024-05", title="low-rank updates of both towers",
                 dept_base=True)  # fmt: skip
class CLIPLoRA(TunedTowers):
    """Learns `text_lora` and `image_lora`: A (r, W) and B (W, r) of each block's queries, keys and values.

    Raises ConfigError where the image tower is to be updated and is no transformer.
    """

    text_lora: Sequence[LoRA]
    image_lora: Sequence[LoRA]

    def setup(self) -> None:
        super().setup()
        self.text_lora, self.image_lora = module_list([]), module_list([])
        if self.settings.TOWERS != "image":
            self.text_lora = self._updates(text_tower(self), self.clip_model.text_width)
        if self.settings.TOWERS != "text":
            self.image_lora = self._updates(*image_tower(self))

    def _updates(self, tower: Transformer, width: int) -> Sequence[LoRA]:
        rank, alpha, dropout = self.settings.RANK, self.settings.ALPHA, self.settings.DROPOUT
        return module_list(LoRA(width, rank, alpha / math.sqrt(rank), dropout) for _ in tower.resblocks)

    def text_parts(self) -> TowerParts | None:
        return _parts(self.text_lora)

    def image_parts(self) -> TowerParts | None:
        return _parts(self.image_lora)


def _parts(updates: Sequence[LoRA]) -> TowerParts | None:
    return TowerParts(lora=dict(enumerate(updates))) if len(updates) else None
