"""Which runs can start, in which order, what they take, and what has become of the others."""

import bisect
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from statistics import mean, median

from mocoop.errors import DataError
from mocoop.protocols.plan import Run
from mocoop.results.record import FILE_NAME, glance, read_record

CONTEXT_MB = 600.0  # that a process has on a GPU beside what torch counts
FRAGMENTS = 1.1  # of what is in use, for what lies between


@dataclass
class Outcome:
    """Why runs failed, and which were not run because the training of their model failed."""

    failed: dict[Run, str] = field(default_factory=dict)
    not_run: list[Run] = field(default_factory=list)

    def lacking(self) -> set[Run]:
        """The runs without a result that counts."""
        return {*self.failed, *self.not_run}

    def lines(self, checkout: Path) -> list[str]:
        """One line for each run that is lacking."""
        logs = {run: run.console(checkout) for run in self.failed}
        where = {run: f"; log: {log}" if log.exists() else "" for run, log in logs.items()}
        failed = [f"failed: {run.name}: {reason}{where[run]}" for run, reason in self.failed.items()]
        return failed + [f"not run: {run.name}: its model was not trained" for run in self.not_run]


class Schedule:
    """The runs of a plan that can start: those of which most seconds depend first, else in the plan's order.

    Attributes:
        ready: the runs that can start, the first first.
        waiting: those that wait for another, by the folder of its model.
    """

    def __init__(self, runs: list[Run], seconds: Callable[[Run], float] = lambda run: 0.0):
        folders = {run.folder for run in runs}
        self.outcome, self.waiting = Outcome(), defaultdict(list)
        for run in runs:
            if run.model in folders:
                self.waiting[run.model].append(run)
        longest = {model: max(map(seconds, dependants)) for model, dependants in self.waiting.items()}
        self._place = {run: (-seconds(run) - longest.get(run.folder, 0.0), number) for number, run in enumerate(runs)}
        self.ready = sorted((run for run in runs if run.model not in folders), key=self._place.__getitem__)

    def put_back(self, run: Run) -> None:
        """Lets a run start, or start again."""
        bisect.insort(self.ready, run, key=self._place.__getitem__)

    def finish(self, run: Run, reason: str) -> list[Run]:
        """Takes note that a run has ended, well if there is no reason. The runs that are settled by that."""
        dependants = self.waiting.pop(run.folder, [])
        if not reason:
            for dependant in dependants:
                self.put_back(dependant)
            return [run]
        self.outcome.failed[run] = reason
        self.outcome.not_run += dependants
        return [run, *dependants]


def wall_seconds(runs: list[Run], seconds: Callable[[Run], float], workers: int) -> float:
    """How long `workers` take for the runs, by going through the schedule."""
    schedule, now = Schedule(runs, seconds), 0.0
    busy: list[tuple[float, str, Run]] = []
    while schedule.ready or busy:
        while schedule.ready and len(busy) < workers:
            run = schedule.ready.pop(0)
            heappush(busy, (now + seconds(run), run.folder, run))
        now, _, run = heappop(busy)
        schedule.finish(run, "")
    return now


class Times:
    """The seconds of each run of a plan, by the records of runs that were done; a function of the run.

    Attributes:
        done: by the folders of the kinds of runs, which are those of the runs without the seed.
    """

    def __init__(self, runs: list[Run], checkout: Path):
        kinds = {_kind(run): run for run in runs}
        measured = {kind: [_seconds(path) for path in (checkout / kind).glob(f"seed*/{FILE_NAME}")] for kind in kinds}
        self.done = {kind: mean(filter(None, seconds)) for kind, seconds in measured.items() if any(seconds)}
        alike = defaultdict(list)
        for kind, seconds in self.done.items():
            for key in _alike(kinds[kind]):
                alike[key].append(seconds)
        self._alike = {key: median(seconds) for key, seconds in alike.items()}

    def __call__(self, run: Run) -> float:
        """Of the run with other seeds, else of the method on other datasets, else of other methods; 0 if none is."""
        guesses = (self._alike[key] for key in _alike(run) if key in self._alike)
        return self.done.get(_kind(run)) or next(guesses, 0.0)


class GpuMemory:
    """Whether runs fit beside each other on a GPU, by what runs that are done took there.

    A run alone on its GPU always may start, and so may one of which no other seed has been done yet.

    Args:
        capacity: megabytes of each GPU, by its name.

    Attributes:
        alone: runs that ran out of memory beside others, and now get a GPU of their own.
    """

    def __init__(self, checkout: Path, capacity: Mapping[str, float]):
        self.checkout, self.capacity = checkout, capacity
        self.alone: set[Run] = set()
        self._peaks: dict[str, float] = {}

    def fits(self, gpu: str | None, run: Run, beside: Sequence[Run]) -> bool:
        """Whether a run may start on a GPU where others go on."""
        if not beside or gpu is None or gpu not in self.capacity:
            return True
        if self.alone.intersection((run, *beside)):
            return False
        return sum(map(self.peak, (run, *beside))) <= self.capacity[gpu]

    def peak(self, run: Run) -> float:
        """Megabytes of the run with another seed, and of its process; 0 if none has been done."""
        kind = _kind(run)
        if kind not in self._peaks:
            for path in (self.checkout / kind).glob(f"seed*/{FILE_NAME}"):
                with contextlib.suppress(DataError):
                    if measured := read_record(path).get("peak_memory_mb"):
                        self._peaks[kind] = max(self._peaks.get(kind, 0.0), FRAGMENTS * measured + CONTEXT_MB)
        return self._peaks.get(kind, 0.0)


def _kind(run: Run) -> str:
    return str(Path(run.folder).parent)


def _alike(run: Run) -> Iterator[tuple[bool, str]]:
    """What a run has in common with others that take about as long, the closest first."""
    tests_a_model = run.model is not None
    yield tests_a_model, Path(run.folder).parts[-3]
    yield tests_a_model, ""


def _seconds(path: Path) -> float | None:
    status, seconds = glance(path)
    return seconds if status == "done" else None
