"""Processes that are the ranks of one run, forked from the test's own; the test keeps their store, as torchrun does."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import distributed

from tests.faults.victims import FORK, Ending, end, start


def run_ranks(
    action: Callable[[], int],
    count: int,
    folder: Path,
    faults: Mapping[int, Sequence[Callable[[], None]]] | None = None,
) -> list[Ending]:
    """Run `action` in `count` ranks, with faults of some of them; each prints to a folder of its own below `folder`.

    The store comes after the forks: a lock that its thread holds at one, the resolver's say, the child would find held
    for ever.
    """
    ports, folders = FORK.SimpleQueue(), [folder / f"rank{number}" for number in range(count)]
    victims = [
        start(
            action, own, lambda number=number: _become_rank(number, count, ports.get()), *(faults or {}).get(number, ())
        )
        for number, own in enumerate(folders)
    ]
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for _ in victims:
        ports.put(store.port)
    return [end(victim, own) for victim, own in zip(victims, folders)]


def computed_by_ranks(compute: Callable[[], dict], count: int, folder: Path) -> list[dict]:
    """What `compute` gives in each of `count` ranks."""

    def action() -> int:
        from mocoop.distributed import rank, ranks

        with ranks():
            torch.save(compute(), folder / f"{rank()}.pt")
        return 0

    for ending in run_ranks(action, count, folder):
        assert ending.status == 0, ending.err
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(count)]


def _become_rank(number: int, count: int, port: int) -> None:
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
