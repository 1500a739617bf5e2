"""Runs a plan: every run after the one whose model it needs, some side by side, whatever happens to the others."""

from collections import defaultdict, deque
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mocoop.protocols.plan import Run
from mocoop.protocols.pool import CONSOLE, WorkerPool


@dataclass
class Outcome:
    """Why runs failed, and which were not run because the training of their model failed."""

    failed: dict[Run, str] = field(default_factory=dict)
    not_run: list[Run] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether everything ended well."""
        return not (self.failed or self.not_run)

    def lines(self, checkout: Path) -> list[str]:
        """One line for each run that is lacking."""
        logs = {run: checkout / run.folder / CONSOLE for run in self.failed}
        where = {run: f"; log: {log}" if log.exists() else "" for run, log in logs.items()}
        failed = [f"failed: {run.name}: {reason}{where[run]}" for run, reason in self.failed.items()]
        return failed + [f"not run: {run.name}: its model was not trained" for run in self.not_run]


class Schedule:
    """Which runs can start. A run that has become ready goes first, so that pairs of runs are soon complete."""

    def __init__(self, runs: list[Run]):
        folders = {run.folder for run in runs}
        self.ready = deque(run for run in runs if run.model not in folders)
        self.outcome = Outcome()
        self._waiting = defaultdict(list)
        for run in runs:
            if run.model in folders:
                self._waiting[run.model].append(run)

    def finish(self, run: Run, reason: str) -> int:
        """Takes note that a run has ended, well if there is no reason. How many runs are settled by that."""
        dependants = self._waiting.pop(run.folder, [])
        if not reason:
            self.ready.extendleft(reversed(dependants))
            return 1
        self.outcome.failed[run] = reason
        self.outcome.not_run += dependants
        return 1 + len(dependants)


def run_all(runs: list[Run], checkout: Path, jobs: int = 1) -> Outcome:
    """Runs what can be run, `jobs` at a time, with progress on stderr.

    Raises ConfigError where train.py cannot be imported. On KeyboardInterrupt all runs end at once.
    """
    schedule, running = Schedule(runs), {}
    if not runs:
        return schedule.outcome
    with WorkerPool(checkout, jobs) as pool, tqdm(total=len(runs), unit="run", dynamic_ncols=True) as bar:
        while schedule.ready or running:
            while schedule.ready and len(running) < jobs:
                run = schedule.ready.popleft()
                running[pool.submit(run)] = run
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                run = running.pop(future)
                settled = schedule.finish(run, future.result())
                bar.set_postfix_str(_state(schedule.outcome, run), refresh=False)
                bar.update(settled)
    return schedule.outcome


def _state(outcome: Outcome, run: Run) -> str:
    """What stands beside the progress: failures so far, and the last run that ended."""
    _, _, dataset, _, method, _, seed = run.name.split("/")
    failed = f"{len(outcome.failed)} failed, " if outcome.failed else ""
    return f"{failed}{method} {dataset} {seed}"
