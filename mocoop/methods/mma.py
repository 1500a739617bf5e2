"""MMA, multi-modal adapter (CVPR 2024): adapters beside the upper blocks of both towers, with a shared core."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.deep_prompts import blocks_from, image_tower, text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.parts import TunedTowers
from mocoop.registry import register_method

KEYS = (
    Key("FIRST_BLOCK", 4, "the first block, from 0, that has an adapter; all above it have, too", at_least=0,
        structural=True),
    Key("DIM", 32, "width of the core that the adapters of both towers share", at_least=1, at_most=4096,
        structural=True),
    Key("SCALE", 0.001, "what an adapter's output is multiplied by; its gradient is not", at_least=1e-9,
        structural=True),
    *common_keys(prec="amp"),
)  # fmt: skip


@register_method("MMA", node="MMA", keys=KEYS, published="2024-06", title="multi-modal adapters with a shared core",
                 dept_base=True)  # fmt: skip
class MMA(TunedTowers):
    """Learns by block `text_adapter` and `visual_adapter`, down to DIM and up again, and between them `shared_adapter`.

    Raises ConfigError for a tower that has fewer blocks, or is no transformer.
    """

    text_adapter: Mapping[str, nn.Sequential]
    visual_adapter: Mapping[str, nn.Sequential]
    shared_adapter: Mapping[str, nn.Sequential]

    def setup(self) -> None:
        super().setup()
        dim, (visual, image_width) = self.settings.DIM, image_tower(self)
        text, image = (blocks_from(self, tower) for tower in (text_tower(self), visual))
        self.text_adapter = by_block(text, lambda: outer(self.clip_model.text_width, dim))
        self.visual_adapter = by_block(image, lambda: outer(image_width, dim))
        self.shared_adapter = by_block({*text, *image}, lambda: nn.Sequential(initialised(dim, dim), nn.ReLU()))

    def text_parts(self) -> TowerParts:
        return self._parts(self.text_adapter)

    def image_parts(self) -> TowerParts:
        return self._parts(self.visual_adapter)

    def _parts(self, adapters: Mapping[str, nn.Sequential]) -> TowerParts:
        scale = self.settings.SCALE
        pairs = {block: (own, self.shared_adapter[block]) for block, own in adapters.items()}
        return TowerParts(adapters={int(block): BesideBlock(*pair, scale) for block, pair in pairs.items()})

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release counts blocks from 1, and saves the embeddings of the prompts, too."""
        if "token_embedding" not in state:
            return state
        parts = {name: name.split(".", 2) for name in state if "_adapter." in name}
        return {f"{kind}.{int(block) - 1}.{rest}": state[name] for name, (kind, block, rest) in parts.items()}


class BesideBlock(nn.Module):
    """scale * up(shared(down(x))) of ln_1's output x (..., W).

    Its weights get the gradient that they would have at a scale of 1; that of x is the true one.
    """

    def __init__(self, own: nn.Sequential, shared: nn.Module, scale: float):
        super().__init__()
        self.own, self.shared, self.scale = own, shared, scale

    def forward(self, x: Tensor) -> Tensor:
        down, up = self.own
        inner = _Scaled.apply(x.to(next(up.parameters()).dtype), 1.0, self.scale)
        return _Scaled.apply(up(self.shared(down(inner))), self.scale, 1.0).to(x.dtype)


class _Scaled(torch.autograd.Function):
    """A tensor times one number, its gradient times another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: float, backward: float) -> Tensor:
        ctx.scale = backward
        return x * forward

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.scale, None, None


def by_block(blocks: Iterable[int], make: Callable[[], nn.Sequential]) -> Mapping[str, nn.Sequential]:
    """An nn.ModuleDict, whose type does not say of what it is."""
    made = nn.ModuleDict({str(block): make() for block in sorted(blocks)})
    return cast(Mapping[str, nn.Sequential], made)


def outer(width: int, dim: int) -> nn.Sequential:
    """The part of an adapter that is one tower's own."""
    down = nn.Sequential(initialised(width, dim), nn.ReLU())
    return nn.Sequential(OrderedDict(down=down, up=initialised(dim, width)))


def initialised(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
