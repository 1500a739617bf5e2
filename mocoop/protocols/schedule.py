"""Which runs can start, in which order, and what has become of the others."""

import bisect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

from mocoop.protocols.plan import Run


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
        self.ready = sorted((run for run in runs if run.model not in folders), key=self._place.get)

    def put_back(self, run: Run) -> None:
        """Lets a run start, or start again."""
        bisect.insort(self.ready, run, key=self._place.get)

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
    schedule, busy, now = Schedule(runs, seconds), [], 0.0
    while schedule.ready or busy:
        while schedule.ready and len(busy) < workers:
            run = schedule.ready.pop(0)
            heappush(busy, (now + seconds(run), run.folder, run))
        now, _, run = heappop(busy)
        schedule.finish(run, "")
    return now
