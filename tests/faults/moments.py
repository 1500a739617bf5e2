"""What happens in a process, moment by moment, so that something can be done to it at any of them.

A moment has a kind and a detail: `("before step", "")`, `("half written", "resume.pth.tar")`. The functions here wrap
what the program calls; they are meant for a forked process, which is not used for anything else.
"""

import builtins
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from mocoop import files
from mocoop.results import csv_files
from mocoop.training.evaluate import Measurement
from mocoop.training.learner import Learner
from mocoop.training.loop import TrainingLoop

Deed = Callable[[str], None]  # gets the detail


def kill(detail: str = "") -> None:
    """What the out-of-memory killer, `kill -9` or a power failure does to a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int) -> Deed:
    """What the system answers from then on, such as errno.ENOSPC."""

    def deed(detail: str) -> None:
        raise OSError(number, os.strerror(number))

    return deed


class Moments:
    """Counts the moments of the kinds it is told to watch, and does the deed at some of them.

    Args:
        deed: what is done; None counts only.
        at: number, from 1, of the moment at which it is done.
        forever: whether it is done at all later ones, too.
        journal: a file that gets a line for each moment.
    """

    def __init__(self, deed: Deed | None = None, at: int = 0, forever: bool = False, journal: Path | None = None):
        self.deed, self.at, self.forever, self.journal = deed, at, forever, journal
        self.count, self.process = 0, None

    def watch_this_process(self) -> None:
        """Count in this process, and in none that it forks."""
        self.process = os.getpid()

    def happen(self, kind: str, detail: str = "") -> None:
        if os.getpid() != self.process:
            return
        self.count += 1
        if self.journal is not None:
            with builtins.open(self.journal, "a", encoding="utf-8") as file:
                file.write(json.dumps([kind, detail]) + "\n")
        if self.deed is not None and (self.count == self.at or self.forever and self.count > self.at):
            self.deed(detail)


def training_steps(moments: Moments) -> Callable[[], None]:
    """Before, in and after each training step; before and after the fit to all images of a method without steps."""

    def watch() -> None:
        moments.watch_this_process()
        step_of_loop, step, fit = TrainingLoop._step, Learner.step, TrainingLoop._fit

        def watched_fit(self):
            without_steps = not self.learner.method.takes_steps
            if without_steps:
                moments.happen("before fit")
            fit(self)
            if without_steps:
                moments.happen("after fit")

        def watched(self, batch):
            moments.happen("before step")
            values = step_of_loop(self, batch)
            moments.happen("after step")
            return values

        def watched_step(self, *args):
            values = step(self, *args)
            moments.happen("in step")
            return values

        TrainingLoop._step, Learner.step, TrainingLoop._fit = watched, watched_step, watched_fit

    return watch


def test_batches(moments: Moments) -> Callable[[], None]:
    """Each batch of a test."""

    def watch() -> None:
        moments.watch_this_process()
        add = Measurement.add

        def watched(self, *args):
            moments.happen("test batch")
            add(self, *args)

        Measurement.add = watched

    return watch


test_batches.__test__ = False


def file_operations(moments: Moments) -> Callable[[], None]:
    """Opening, writing, flushing, renaming and removing of every file that is written atomically, and the history.

    Each moment is before the operation, and so after the one before it; a write has one in its middle.
    """

    def watch() -> None:
        moments.watch_this_process()
        files.open = csv_files.open = lambda *args, **kwargs: _opened(moments, *args, **kwargs)
        os.replace = _around(moments, os.replace, "rename")
        os.fsync = _around(moments, os.fsync, "sync")
        os.unlink = _around(moments, os.unlink, "remove")

    return watch


def read_journal(path: Path) -> list[tuple[str, str]]:
    """The moments of a journal, in order."""
    return [tuple(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _around(moments: Moments, function, name: str):
    def watched(target, *args, **kwargs):
        detail = "" if isinstance(target, int) else Path(args[0] if args else target).name
        moments.happen(f"before {name}", detail)
        return function(target, *args, **kwargs)

    return watched


def _opened(moments: Moments, path, mode: str = "r", *args, **kwargs):
    if mode[0] in "rb":
        return builtins.open(path, mode, *args, **kwargs)
    moments.happen("before open", Path(path).name)
    return HalfWriter(builtins.open(path, mode, *args, **kwargs), moments, Path(path).name)


class HalfWriter:
    """A file whose first write, and for a history each, is done in two halves with a moment between."""

    def __init__(self, file, moments: Moments, name: str):
        self.file, self.moments, self.name = file, moments, name
        self.divides = True

    def write(self, data) -> int:
        if not self.divides:
            return self.file.write(data)
        self.divides = self.name == csv_files.HISTORY
        middle = len(data) // 2
        self.file.write(data[:middle])
        self.file.flush()
        self.moments.happen("half written", self.name)
        self.file.write(data[middle:])
        return len(data)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)
