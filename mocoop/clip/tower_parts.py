"""What is put into one of CLIP's towers for one pass: CLIP itself is shared, and stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class TowerParts:
    """Made by a method from what it learns, anew for each pass.

    Attributes:
        norms: LayerNorms that learn, {name of a parameter in the tower: what takes its place}.
    """

    norms: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether anything in it learns."""
        return any(value.requires_grad for value in self.norms.values())
