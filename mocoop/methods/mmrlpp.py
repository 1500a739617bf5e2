"""MMRL++ (arXiv 2505.10088): MMRL whose maps share most weights, and whose tokens go on from block to block."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.keys import Key
from mocoop.methods.mmrl import KEYS as MMRL_KEYS
from mocoop.methods.mmrl import MMRL
from mocoop.registry import register_method

KEYS = (
    *MMRL_KEYS,
    Key("BETA", 0.9, "share of a block's new tokens; what the block below made of the old ones has the rest (released: "
        "0.1 to 0.9 by dataset)", at_least=0.0, at_most=1.0),
    Key("RES_LORA_DIM", 4, "rank of what the map into each block has of its own", at_least=1, at_most=1024,
        structural=True),
    Key("PROJ_LORA_DIM", 64, "rank of what is added to CLIP's projection", at_least=1, at_most=1024, structural=True),
)  # fmt: skip


@register_method("MMRLpp", node="MMRLPP", keys=KEYS, published="2025-05", title="MMRL with shared maps (MMRL++)",
                 trained_classes=True, export=None)  # fmt: skip
class MMRLpp(MMRL):
    """Learns `compound_rep_tokens` (n, REP_DIM), `srra_r2tproj` and `srra_r2vproj`, which map them, and `A` and `B`.

    The representation tokens are projected by CLIP's projection + A B, which starts as CLIP's.
    """

    chosen_by_dataset = {"REG_WEIGHT": 1.0, "BETA": 0.9}

    def make_maps(self, size: int, text: tuple[int, int], image: tuple[int, int]) -> None:
        rank, projected = self.settings.RES_LORA_DIM, self.settings.PROJ_LORA_DIM
        if self.clip_model.vision_transformer.proj is None:
            raise ConfigError("MMRLpp adds to the last projection of the image tower, got a tower without one")
        self.srra_r2tproj, self.srra_r2vproj = (SharedMaps(size, *tower, rank) for tower in (text, image))
        self.A, self.B = low_rank(image[0], self.clip_model.embed_dim, projected)

    def text_parts(self) -> TowerParts:
        return self.tower_parts(self.srra_r2tproj(self.compound_rep_tokens))

    def image_parts(self) -> TowerParts:
        return self.tower_parts(self.srra_r2vproj(self.compound_rep_tokens))

    def tower_parts(self, values: Iterable[Tensor]) -> TowerParts:
        share, rows = self.settings.BETA, super().tower_parts(values).rows

        def mix(new: Tensor, there: Tensor) -> Tensor:
            return share * new + (1 - share) * there

        return TowerParts(rows={i: own if own.grows else replace(own, mix=mix) for i, own in rows.items()})

    def second_projection(self) -> Tensor:
        return cast(Tensor, self.clip_model.vision_transformer.proj).to(self.A.dtype) + self.A @ self.B


class SharedMaps(nn.Module):
    """Linear maps of `size` to `width`, one for each block: a shared weight, and what each block has of its own."""

    def __init__(self, size: int, width: int, blocks: int, rank: int):
        super().__init__()
        layer = nn.Linear(size, width)
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.srra = nn.ModuleList(Residual(layer, rank) for _ in range(blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [F.linear(x, self.weight + own.A @ own.B, own.bias) for own in cast(Iterable[Residual], self.srra)]


class Residual(nn.Module):
    """What one block's map has of its own: A B and a bias."""

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        rows, columns = layer.weight.shape
        self.A, self.B = low_rank(rows, columns, rank)
        self.bias = nn.Parameter(layer.bias.detach().clone())


def low_rank(rows: int, columns: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Factors (rows, rank) and (rank, columns) of a product that is zero."""
    first = nn.init.kaiming_uniform_(torch.empty(rows, rank), a=math.sqrt(5))
    return nn.Parameter(first), nn.Parameter(torch.zeros(rank, columns))
