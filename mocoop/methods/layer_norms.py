"""LayerNorms of a tower that learn: a method's own copies, handed to the tower in place of CLIP's."""

from collections.abc import Callable

from torch import Tensor, nn


class LayerNorms(nn.Module):
    """Copies of a tower's parameters, held under their names with "/" for ".".

    Args:
        tower: CLIP's; it is not changed.
        chosen: which of its parameters learn, by name.
    """

    def __init__(self, tower: nn.Module, chosen: Callable[[str], bool]):
        super().__init__()
        for name, value in tower.named_parameters():
            if chosen(name):
                self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach().clone()))

    def __len__(self) -> int:
        return len(self._parameters)

    def substitutes(self) -> dict[str, Tensor]:
        """The learned tensors by their names in the tower."""
        return {name.replace("/", "."): value for name, value in self._parameters.items()}
