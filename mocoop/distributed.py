"""Several processes that make one run, under torchrun: each is a rank, and the first of them is the main one.

All ranks do the same: they hold the same weights, see the same features and losses, and take the same steps. Shared out
are the work of the encoders (mocoop/clip/shares.py) and the reading of images; what stands between the encoders and
the loss need not know of ranks. In one process, without torchrun, nothing here does anything.

Every collective is reached by all ranks. What one of them alone knows, such as a signal or the content
of a cache, is agreed on first (`from_main`, `highest`).
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mocoop.errors import ConfigError

TIMEOUT = timedelta(hours=1)  # for the main rank to write or index a data set, while the others wait
_FAILURE = "failure"
T = TypeVar("T")

_store = None  # kept by torchrun, which outlives a rank


def world_size() -> int:
    """How many processes make the run."""
    return 1 if _store is None else dist.get_world_size()


def rank() -> int:
    """Which of them this is, from 0."""
    return 0 if _store is None else dist.get_rank()


def is_main() -> bool:
    """Whether this process writes and prints for all."""
    return rank() == 0


@contextmanager
def ranks() -> Iterator[None]:
    """Join the processes that torchrun has started until the block ends; all but the main one print nothing.

    On GPUs each takes the one of its number on its machine.
    """
    global _store
    if os.environ.get("WORLD_SIZE", "1") == "1" or not dist.is_available() or not dist.is_torchelastic_launched():
        yield
        return
    backend, local_rank = "gloo", int(os.environ.get("LOCAL_RANK", 0))
    if local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    store, number, count = next(dist.rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
    console, _store = sys.stdout, store
    try:
        if number > 0:
            sys.stdout = open(os.devnull, "w")
        yield
    finally:
        sys.stdout, _store = console, None
        dist.destroy_process_group()


def check_ranks(seed: int, use_cuda: bool) -> None:
    """Raises ConfigError for settings under which ranks would not do the same, or would share a GPU."""
    if world_size() == 1:
        return
    if seed < 0:
        raise ConfigError(f"SEED is {seed}, expected 0 or more for {world_size()} ranks: give them a --seed")
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if use_cuda and 0 < gpus < here:
        raise ConfigError(f"--nproc_per_node is {here}, expected at most {gpus}, the number of GPUs, or USE_CUDA False")


def first_failure(reason: str) -> tuple[str, bool]:
    """Why the run failed, as the first rank said that had to end, and whether that is this one: others fail for it."""
    if _store is None:
        return reason, True
    try:
        number, _, first = _store.compare_set(_FAILURE, "", f"{rank()} {reason}").decode().partition(" ")
    except RuntimeError:  # the store is gone too
        return reason, True
    return first, int(number) == rank()


def from_main(compute: Callable[[], T]) -> T:
    """What `compute` gives on the main rank; it is not called on the others."""
    if world_size() == 1:
        return compute()
    found: list[Any] = [compute() if is_main() else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]


@contextmanager
def main_first() -> Iterator[None]:
    """The main rank runs the block before the others: what it writes, they find."""
    if not is_main():
        highest(0)
    yield
    if is_main():
        highest(0)


def of_all(value: T) -> list[T]:
    """The values of all ranks, in their order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def highest(number: int) -> int:
    """The highest of the ranks' numbers, when all have given theirs."""
    if world_size() == 1:
        return number
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over ranks, in one message; half precision is added up in fp32."""
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    flat = torch.cat([tensor.reshape(-1).to(wide) for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors)]


def make_alike(tensors: Sequence[Tensor]) -> None:
    """Let tensors be their means over ranks: a GPU's sums may differ in their last bits, and the ranks would part."""
    if world_size() > 1 and tensors:
        for tensor, total in zip(tensors, summed(tensors)):
            tensor.copy_(total / world_size())


def own_range(size: int) -> range:
    """This rank's places among `size`, in blocks of one length; the last ranks may have fewer, or none."""
    share = -(-size // world_size())
    return range(min(rank() * share, size), min((rank() + 1) * share, size))


def own_places(size: int) -> list[int]:
    """`own_range` filled up with the last place, so that all ranks have as many."""
    share = -(-size // world_size())
    return [min(place, size - 1) for place in range(rank() * share, (rank() + 1) * share)]
