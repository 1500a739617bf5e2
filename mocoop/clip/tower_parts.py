"""What is put into one of CLIP's towers for one pass: CLIP itself is shared, and stays as it is."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mocoop.clip.lora import LoRA

M = TypeVar("M", bound=nn.Module)
HOW = ("replace", "insert", "replace_last", "append")


@dataclass(frozen=True)
class Rows:
    """n rows that stand in a sequence from before a block on, until other rows replace them. W is the tower's width.

    Attributes:
        value: (n, W); for prompts also (G or 1, C or 1, n, W): of each of G prompts, of each of C classes.
        how: replace: in place of the n rows behind the first position (SOT, or an image's class token); insert: behind
            the first position, the sequence grows. For images alone replace_last, in place of the last n rows, and
            append, behind the last row.
        mix: what stands there is `mix(value, rows that are there)`, (..., n, W), if it is given; with replace alone.
            A module, where it learns.
    """

    value: Tensor
    how: str = "replace"
    mix: Callable[[Tensor, Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"rows are put in by one of {', '.join(HOW)}, got {self.how!r}")
        if self.mix is not None and self.how in ("insert", "append"):
            raise ValueError("only rows that replace others can be mixed with them")

    def __len__(self) -> int:
        return self.value.shape[-2]

    @property
    def grows(self) -> bool:
        return self.how in ("insert", "append")

    def of_prompts(self, members: list[int]) -> "Rows":
        value = _of_prompts(self)
        return replace(self, value=value if len(value) == 1 else value[members[0] : members[-1] + 1])

    def of_classes(self, classes: Tensor) -> "Rows":
        own = self.value.dim() == 4 and self.value.shape[1] > 1
        return replace(self, value=self.value[:, classes.to(self.value.device)]) if own else self


@dataclass(frozen=True)
class TowerParts:
    """Made by a method from what it learns, anew for each pass. Blocks count from 0, W is the tower's width.

    Attributes:
        tokens: rows (n, W) appended to an image's sequence, after the position embedding and before ln_pre; the text
            tower has the prompt's context for it.
        rows: {block: rows that are put in before it}.
        adapters: {block: module}, whose output for ln_1's output (..., W) is added to that of the block.
        lora: {block: low-rank update of queries, keys and values}.
        weights: {name of one of the tower's own parameters: what takes its place}.
        hidden: how many rows behind an image's patches, the first of `tokens` and what replaces them, its patches do
            not attend to; all other rows do.

    Raises ValueError for more hidden rows than `tokens` has, or rows that are inserted or appended beside them.
    """

    tokens: Tensor | None = None
    rows: Mapping[int, Rows] = field(default_factory=dict)
    adapters: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    lora: Mapping[int, LoRA] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    hidden: int = 0

    def __post_init__(self) -> None:
        behind = self.tokens is not None and len(self.tokens) >= self.hidden
        if self.hidden and not (behind and not any(rows.grows for rows in self.rows.values())):
            expected = "as many behind these, and no rows that are added later"
            raise ValueError(f"{self.hidden} rows are hidden from the patches, expected {expected}")

    @property
    def learns(self) -> bool:
        """Whether anything in it learns."""
        return any(value.requires_grad for value in self.tensors())

    @property
    def drops_out(self) -> bool:
        """Whether LoRA's dropout is at work: then no two prompts share what is computed."""
        return any(update.drops_out for update in self.lora.values())

    @property
    def only_weights(self) -> bool:
        """Whether the tower's own forward pass can be taken, with other values of some parameters."""
        return self.tokens is None and not (self.rows or self.adapters or self.lora)

    def of_prompts(self, members: list[int]) -> "TowerParts":
        """What concerns some prompts, which stand side by side, with all rows as (G' or 1, C or 1, n, W)."""
        return replace(self, rows={block: rows.of_prompts(members) for block, rows in self.rows.items()})

    def of_classes(self, classes: Tensor) -> "TowerParts":
        """What concerns some of C classes, (C',)."""
        return replace(self, rows={block: rows.of_classes(classes) for block, rows in self.rows.items()})

    def with_tensors(self, taken: Mapping[int, Tensor]) -> "TowerParts":
        """The same with other tensors, by the `id` of those whose places they take, in modules too."""
        return replace(self, **{part.name: _with_tensors(getattr(self, part.name), taken) for part in fields(self)})

    def tensors(self) -> Iterator[Tensor]:
        """All that is put in, parameters of modules too."""
        for part in fields(self):
            yield from _tensors(getattr(self, part.name))


NOTHING = TowerParts()


def side_by_side(parts: Sequence[TowerParts | None]) -> TowerParts | None:
    """What prompts, each with parts of its own, are given in one pass; None unless that is rows put in alike."""
    each = [one or NOTHING for one in parts]
    shapes = [{block: (rows.how, _of_prompts(rows).shape) for block, rows in one.rows.items()} for one in each]
    only_rows = all(
        one.tokens is None
        and not (one.adapters or one.lora or one.weights)
        and all(rows.mix is None and len(_of_prompts(rows)) == 1 for rows in one.rows.values())
        for one in each
    )
    if not only_rows or any(shape != shapes[0] for shape in shapes):
        return None
    if not each[0].rows:
        return NOTHING
    values = {block: torch.cat([_of_prompts(one.rows[block]) for one in each]) for block in each[0].rows}
    return TowerParts(rows={block: replace(rows, value=values[block]) for block, rows in each[0].rows.items()})


def _of_prompts(rows: Rows) -> Tensor:
    """(G or 1, C or 1, n, W)."""
    return rows.value if rows.value.dim() == 4 else rows.value[None, None]


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, Rows):
        yield value.value
        yield from _tensors(value.mix)
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, Tensor):
        yield value


def _with_tensors(value: Any, taken: Mapping[int, Tensor]) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_tensors(item, taken) for key, item in value.items()}
    if isinstance(value, Rows):
        return replace(value, value=taken.get(id(value.value), value.value), mix=_with_tensors(value.mix, taken))
    if isinstance(value, nn.Module):
        made = copy.copy(value)  # not deeply: all but the tensors is shared
        made._parameters = _with_tensors(value._parameters, taken)
        made._modules = _with_tensors(value._modules, taken)
        return made
    return taken.get(id(value), value)


def with_weights(module: M, prefix: str, weights: Mapping[str, Tensor]) -> M:
    """A module of a tower with what takes the place of its parameters: the module itself where nothing does.

    Args:
        prefix: of its parameters' names in the tower.
        weights: of the tower (`TowerParts.weights`).
    """
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not own:
        return module
    made = copy.copy(module)  # not deeply: all but these parameters is shared
    made._parameters = {name: own.get(name, value) for name, value in module._parameters.items()}  # type: ignore
    made._modules = {name: child and with_weights(child, f"{name}.", own) for name, child in module._modules.items()}
    return made


def put_in(x: Tensor, rows: Rows) -> Tensor:
    """Sequences x (..., L, W) with rows (..., n, W) put in; not for packed ones (packing.py)."""
    length, count = x.shape[-2], len(rows)
    first = {"replace_last": length - count, "append": length}.get(rows.how, 1)
    before, there, behind = x.split([first, 0 if rows.grows else count, length - first - count * (not rows.grows)], -2)
    value = rows.value.to(x.dtype).expand(*x.shape[:-2], *rows.value.shape[-2:])
    value = value if rows.mix is None else rows.mix(value, there)
    return torch.cat([part for part in (before, value, behind) if part.shape[-2]], dim=-2)
