"""What is put into one of CLIP's towers for one pass: CLIP itself is shared, and stays as it is."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor, nn

from mocoop.clip.lora import LoRA


@dataclass(frozen=True)
class TowerParts:
    """Made by a method from what it learns, anew for each pass. Blocks count from 0, W is the tower's width.

    Attributes:
        tokens: rows (n, W) appended to an image's sequence, after the position embedding and before ln_pre; the text
            tower has the prompt's context for it.
        deep: {block: rows} that replace rows before the block: those behind SOT in a prompt, the last ones of an
            image. They are (n, W), or for prompts (G or 1, C or 1, n, W): of each of G prompts, of each of C classes.
        inserted: {block: rows (n, W)} inserted behind SOT or the class token before the block, and kept from then on.
        adapters: {block: module}, whose output for ln_1's output (..., W) is added to that of the block.
        lora: {block: low-rank update of queries, keys and values}.
        norms: LayerNorms that learn, {name of a parameter in the tower: what takes its place}.
    """

    tokens: Tensor | None = None
    deep: Mapping[int, Tensor] = field(default_factory=dict)
    inserted: Mapping[int, Tensor] = field(default_factory=dict)
    adapters: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    lora: Mapping[int, LoRA] = field(default_factory=dict)
    norms: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        if self.inserted and (self.deep or self.tokens is not None):
            raise ValueError("a tower takes rows that are inserted or rows that are replaced, got both")
        if self.inserted and self.drops_out:
            raise ValueError("rows cannot be inserted beside LoRA with dropout")

    @property
    def learns(self) -> bool:
        """Whether anything in it learns."""
        return any(value.requires_grad for value in self.tensors())

    @property
    def drops_out(self) -> bool:
        """Whether LoRA's dropout is at work: then no two prompts share what is computed."""
        return any(update.drops_out for update in self.lora.values())

    @property
    def only_norms(self) -> bool:
        """Whether the tower's own forward pass can be taken, with other values of some parameters."""
        return self.tokens is None and not (self.deep or self.inserted or self.adapters or self.lora)

    def of_prompts(self, members: list[int], prompts: int) -> "TowerParts":
        """What concerns some of G prompts, with all deep rows as (G' or 1, C or 1, n, W)."""
        deep = {block: rows if rows.dim() == 4 else rows[None, None] for block, rows in self.deep.items()}
        if len(members) < prompts:
            deep = {block: rows if len(rows) == 1 else rows[members] for block, rows in deep.items()}
        return replace(self, deep=deep)

    def of_classes(self, classes: Tensor) -> "TowerParts":
        """What concerns some of C classes, (C',)."""
        own = {b: rows[:, classes] if rows.dim() == 4 and rows.shape[1] > 1 else rows for b, rows in self.deep.items()}
        return replace(self, deep=own)

    def with_tensors(self, taken: Mapping[int, Tensor]) -> "TowerParts":
        """The same with other tensors, by the `id` of those whose places they take, in modules too."""
        return replace(self, **{part.name: _with_tensors(getattr(self, part.name), taken) for part in fields(self)})

    def tensors(self) -> Iterator[Tensor]:
        """All that is put in, parameters of modules too."""
        for part in fields(self):
            value = getattr(self, part.name)
            for item in value.values() if isinstance(value, Mapping) else [value]:
                if isinstance(item, nn.Module):
                    yield from item.parameters()
                elif isinstance(item, Tensor):
                    yield item


NOTHING = TowerParts()


def _with_tensors(value, taken: Mapping[int, Tensor]):
    if isinstance(value, Mapping):
        return {key: _with_tensors(item, taken) for key, item in value.items()}
    if isinstance(value, nn.Module):
        made = copy.copy(value)  # not deeply: all but the tensors is shared
        made._parameters = {name: taken.get(id(p), p) for name, p in value._parameters.items()}
        made._modules = _with_tensors(value._modules, taken)
        return made
    return taken.get(id(value), value)


def replace_rows(x: Tensor, first: int, rows: Tensor) -> Tensor:
    """x (..., L, W) with its rows `first`, `first` + 1, ... replaced by rows (..., n, W)."""
    rows = rows.to(x.dtype).expand(*x.shape[:-2], *rows.shape[-2:])
    return torch.cat([x[..., :first, :], rows, x[..., first + rows.shape[-2] :, :]], dim=-2)


def insert_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x (..., L, W) with rows (n, W) between its first row and the others."""
    return torch.cat([x[..., :1, :], rows.to(x.dtype).expand(*x.shape[:-2], *rows.shape), x[..., 1:, :]], dim=-2)
