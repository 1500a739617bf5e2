"""The encoders' work, shared out among the ranks of a run: each encodes some, and all get the features of all.

Gradients are those of the whole on every rank. A feature's gradient is computed alike by all ranks, and each takes that
of its own share back through the tower; the gradients that this gives what was put into the tower are summed.
Shares are of equal size: what is left over is encoded by several ranks, and counted once.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from mocoop.clip.prompts import PromptLayout
from mocoop.clip.tower_parts import TowerParts
from mocoop.distributed import rank, summed, world_size


@dataclass
class _Sharing:
    """What this rank's encoders do now.

    Attributes:
        together: whether each encodes a share of what all encode.
        images: size of the batch of images that is shared out, None outside of such a context.
    """

    together: bool = False
    images: int | None = None


sharing = _Sharing()


@contextmanager
def _set(together: bool, images: int | None) -> Iterator[None]:
    before = sharing.together, sharing.images
    sharing.together, sharing.images = together, images
    try:
        yield
    finally:
        sharing.together, sharing.images = before


def together(images: int | None = None) -> AbstractContextManager[None]:
    """A context in which all ranks do the same, and their encoders each a share of it.

    Args:
        images: size of the batch of which this rank holds its share (`own_places`); None: no image is encoded.
    """
    return _set(True, images) if world_size() > 1 else contextlib.nullcontext()


def apart() -> AbstractContextManager[None]:
    """A context in which this rank's encoders work for it alone, as they do outside of `together`."""
    return _set(False, None)


def is_together() -> bool:
    return sharing.together


def images_together() -> int | None:
    """Size of the batch of images that is shared out, None outside of such a context."""
    return sharing.images


def encode_prompts(
    encode: Callable[..., Tensor], contexts: Sequence[Tensor | None], layouts: Sequence[PromptLayout], parts: TowerParts
) -> Tensor:
    """Text features (G, C, ...) by `encode(contexts, layouts, parts)`, of which each rank encodes some of the classes.

    Classes are dealt out by the lengths of their prompts, so that all ranks have as much to do.
    """
    order = torch.argsort(layouts[0].host.lengths, stable=True)
    places = torch.arange(-(-len(order) // world_size())) * world_size() + rank()
    own = order[places.clamp(max=len(order) - 1)]  # (K,)
    chosen = {id(layout): layout.of_classes(own) for layout in layouts}
    contexts, parts = _with_summed_gradients(contexts, parts)
    with _own_random_numbers(parts):
        features = encode(contexts, [chosen[id(layout)] for layout in layouts], parts.of_classes(own))  # (G, K, D)
    ranked = _Gathered.apply(features.transpose(0, 1)).unflatten(0, (world_size(), -1))  # (N, K, G, D)
    return ranked.transpose(0, 1).flatten(0, 1)[: len(order)][torch.argsort(order)].transpose(0, 1)


def encode_images(encode: Callable[..., Tensor], image: Tensor, parts: TowerParts) -> Tensor:
    """Features (B, D) of a whole batch by `encode(image, parts)`, each rank's of its own images.

    Of several views of each image, one after the other, as many features.
    """
    _, parts = _with_summed_gradients([], parts)
    images = cast(int, sharing.images)
    views = len(image) // -(-images // world_size())
    with _own_random_numbers(parts):
        return _Gathered.apply(encode(image, parts))[: images * views]


def encode_some(encode: Callable[[Tensor], Tensor], image: Tensor, places: Tensor) -> Tensor:
    """Features (M, D) by `encode(image)`, which is an image encoder's, of the images at some places (M,) of a batch.

    Args:
        image: of the batch, or this rank's share of it. places: in order, the same on all ranks.
    """
    if sharing.images is None:
        return encode(image[places])
    shares = [places[places // len(image) == number] - number * len(image) for number in range(world_size())]
    most, own = max(map(len, shares)), shares[rank()]
    own = torch.cat([own, own.new_zeros(most - len(own))])  # filled up, so that all ranks have as many
    with together(most * world_size()):
        ranked = encode(image[own]).unflatten(0, (world_size(), most))
    return torch.cat([features[: len(share)] for features, share in zip(ranked, shares)])


def _with_summed_gradients(
    contexts: Sequence[Tensor | None], parts: TowerParts
) -> tuple[list[Tensor | None], TowerParts]:
    """The same, with tensors in their places whose gradients are summed over ranks."""
    given = {id(value): value for value in (*contexts, *parts.tensors()) if value is not None and value.requires_grad}
    if not given or not torch.is_grad_enabled():
        return list(contexts), parts
    taken = dict(zip(given, _SummedGradients.apply(*given.values())))
    return [taken.get(id(ctx), ctx) for ctx in contexts], parts.with_tensors(taken)


@contextmanager
def _own_random_numbers(parts: TowerParts) -> Iterator[None]:
    """For dropout: numbers of this rank's own, drawn as often as its share needs, while those of all go on alike."""
    if not parts.drops_out:
        yield
        return
    seed = int(torch.randint(2**62, ())) + rank()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(seed)
        yield


class _Gathered(torch.autograd.Function):
    """Shares (n, ...) of all ranks, one after the other, (N n, ...)."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        ctx.own, share = slice(rank() * len(share), (rank() + 1) * len(share)), share.contiguous()
        shares = [torch.empty_like(share) for _ in range(world_size())]
        dist.all_gather(shares, share)
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad[ctx.own]


class _SummedGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(summed(grads))
