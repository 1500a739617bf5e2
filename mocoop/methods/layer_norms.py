"""LayerNorms of a tower that learn: a method's own copies, handed to the tower in place of CLIP's."""

from torch import nn

from mocoop.clip.tower_parts import TowerParts


class LayerNorms(nn.Module):
    """Copies of every ln_1 and ln_2 of a tower's blocks, held under their names with "/" for ".".

    Args:
        tower: CLIP's, it is not changed; None: none learn.
        prefix: of the tower's names, where its blocks are put together.
    """

    def __init__(self, tower: nn.Module | None, prefix: str = ""):
        super().__init__()
        self.prefix = prefix
        for name, value in tower.named_parameters() if tower is not None else ():
            if ".ln_1." in name or ".ln_2." in name:
                self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach().clone()))

    def __len__(self) -> int:
        return len(self._parameters)

    def parts(self, learn: bool = True) -> TowerParts | None:
        """What a pass is handed, without a gradient unless they `learn`; None if the tower keeps its own."""
        own = {self.prefix + name.replace("/", "."): p if learn else p.detach() for name, p in self._parameters.items()}
        return TowerParts(norms=own) if own else None
