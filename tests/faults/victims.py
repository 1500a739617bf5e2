"""Processes that are forked to meet a fault.

The test process has imported everything once; a victim is a fork of it, so that a run of a few training steps takes
about a second, and really dies where it is killed.
"""

import contextlib
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.utils.tensorboard  # noqa: F401 (what runs and tools import late, once instead of in every fork)

import mocoop.protocols.products
import mocoop.report
import mocoop.results.figures  # noqa: F401
import train
from mocoop import cli

TIMEOUT = 120.0
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Ending:
    """How a process ended: exit status, or minus the number of the signal that killed it, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line on stderr of a process that gave up clearly, with exit status 2."""
        assert self.status == 2, f"status {self.status}: {self.err}"
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        return lines[0]


def run(action: Callable[[], int], folder: Path, *faults: Callable[[], None]) -> Ending:
    """Run `action` in a forked process after `faults` have prepared it; `folder` takes what it prints."""
    victim = start(action, folder, *faults)
    return end(victim, folder)


def start(action: Callable[[], int], folder: Path, *faults: Callable[[], None]) -> multiprocessing.Process:
    """`run` without waiting for the end; the process leads a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    victim = FORK.Process(target=_become, args=(action, folder, faults))
    victim.start()
    return victim


def end(victim: multiprocessing.Process, folder: Path) -> Ending:
    """Wait for a started process."""
    deadline = time.monotonic() + TIMEOUT
    while victim.is_alive() and time.monotonic() < deadline:  # `join` would wait for the processes it started, too
        time.sleep(0.01)
    if victim.exitcode is None:
        victim.kill()
        victim.join()
        raise AssertionError(f"no end after {TIMEOUT:.0f} s: {_printed(folder, 'err')}")
    return Ending(victim.exitcode, _printed(folder, "out"), _printed(folder, "err"))


def training(*argv: str) -> Callable[[], int]:
    """train.py with this command line."""
    return lambda: train.main(list(argv))


def tool(*argv: str) -> Callable[[], int]:
    """mocoop with this command line."""
    return lambda: cli.main(list(argv))


def _become(action: Callable[[], int], folder: Path, faults) -> None:
    os.setpgid(0, 0)
    gc.freeze()  # a collection here would go through, and copy, all that the tests hold
    torch.set_num_threads(1)
    for number, name in ((1, "out"), (2, "err")):
        with open(folder / f"{name}.txt", "wb") as file:
            os.dup2(file.fileno(), number)
    with (
        open(1, "w", buffering=1, closefd=False) as sys.stdout,
        open(2, "w", buffering=1, closefd=False) as sys.stderr,
    ):
        for fault in faults:
            fault()
        status = action()
    with contextlib.suppress(ValueError):
        sys.exit(status)


def _printed(folder: Path, name: str) -> str:
    return (folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace")
