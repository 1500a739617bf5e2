"""2SFS, two-stage few-shot adaptation (arXiv 2503.11609): first the LayerNorms of both towers, then a linear head."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import CheckpointError
from mocoop.methods.deep_prompts import image_tower, text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import LayerNorms, TunedTowers
from mocoop.registry import register_method

KEYS = (
    Key("FIRST_STAGE", 0.6, "share of the training that is given to the LayerNorms", at_least=0.0, at_most=1.0),
    *common_keys(prec="amp"),
)


@register_method("TwoSFS", node="TWOSFS", keys=KEYS, published="2025-03", title="LayerNorms, then a linear head (2SFS)",
                 trained_classes=True)  # fmt: skip
class TwoSFS(TunedTowers):
    """Learns `text_norms` and `image_norms`, ln_1 and ln_2 of every block, then `head` (C, D), which starts as text.

    Raises ConfigError for a CLIP whose image tower is no transformer.
    """

    def setup(self) -> None:
        super().setup()
        image_tower(self)
        self.text_norms = LayerNorms(cast(nn.Module, text_tower(self)), prefix="transformer.")
        self.image_norms = LayerNorms(self.clip_model.visual)
        self.head = nn.Parameter(torch.zeros(len(self.trained_classnames), self.clip_model.embed_dim))
        self.stages = (self.settings.FIRST_STAGE,)

    def text_parts(self) -> TowerParts | None:
        return self.text_norms.parts()

    def image_parts(self) -> TowerParts | None:
        return self.image_norms.parts(learn=self.stage == 0)

    def encode_classes(self) -> Tensor:
        """Of text; in the second stage the head's rows, and of text for classes that it does not know."""
        if self.stage == 0:
            return super().encode_classes()
        head = F.normalize(self.head, dim=-1).to(self.dtype)[self.rows]
        return head if self.all_trained else torch.where((self.rows >= 0)[:, None], head, super().encode_classes())

    def start_stage(self, stage: int) -> None:
        with torch.no_grad():
            self.head.copy_(super().encode_classes())
        self.stage = stage

    def extra_state(self) -> dict:
        return {"stage": self.stage}

    def load_extra_state(self, state: dict) -> None:
        if state.get("stage") not in (0, 1):
            raise CheckpointError(f"the stage of TwoSFS is {state.get('stage')!r}, expected 0 or 1")
        self.stage = state["stage"]
