"""Where a run's time goes: seconds of the host's clock by part, always taken, in a few hundred nanoseconds.

    with timed("tests"):  # seconds of a part within are that part's alone, so that all of them add up to the whole

On a GPU nothing is waited for: a part that only launches work is short, and the one that reads what it gave is long.

Parts of a run: `start` (the process before the command) and `imports`, of a process's first run; `data` (lists,
splits, subsets), `CLIP`, `hard prompts`, `method` (what else is built); `first batch` (waiting for that of each epoch,
and for its loader to end), `loader` (waiting for the other batches), `first steps`, in which plans are made and a graph
is captured, `steps`; `tests`, with `decoding` (waiting for their images) and `kept features`
(reading them, and hashing the images that they are of); `writing` (states, tables, records) and `other`.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

START, OTHER = "start", "other"  # the parts outside of all others, before a process's first run and in a run

T = TypeVar("T")


class Timings:
    """Seconds by part, of one thread.

    Attributes:
        seconds: of the parts that are over.
    """

    def __init__(self, outermost: str):
        self.seconds: dict[str, float] = {}
        self._open, self._since = [outermost], time.perf_counter()

    def enter(self, part: str) -> None:
        self._count()
        self._open.append(part)

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def so_far(self) -> dict[str, float]:
        """The seconds of all parts, to a tenth of a millisecond."""
        self._count()
        return {part: round(seconds, 4) for part, seconds in self.seconds.items()}

    def _count(self) -> None:
        now, part = time.perf_counter(), self._open[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


_timings, _has_begun = Timings(START), False


class timed(ContextDecorator):
    """A context, or a decorator, whose seconds count for a part, and for no part around it."""

    def __init__(self, part: str):
        self.part = part

    def __enter__(self) -> None:
        _timings.enter(self.part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _timings.leave()


def begin() -> None:
    """From now on it is another run's time; the first one of a process has its start and its imports too."""
    global _timings, _has_begun
    before = _timings.so_far()
    _timings = Timings(OTHER)
    if not _has_begun:
        _timings.seconds = before | {START: before.get(START, 0.0) + _seconds_before_import}
    _has_begun = True


def so_far() -> dict[str, float]:
    """Seconds of each part of the run that goes on."""
    return _timings.so_far()


def waits(part: str, items: Iterable[T]) -> Iterator[T]:
    """The items; the seconds until each is there count for the part."""
    source = iter(items)
    while True:
        with timed(part):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item


def _seconds_of_process() -> float:
    """How long this process has been there; 0 where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


_seconds_before_import = _seconds_of_process()
