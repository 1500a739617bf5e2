"""Runs a plan: every run after the one whose model it needs, some side by side, whatever happens to the others."""

import logging
import signal
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mocoop.protocols.plan import Run
from mocoop.protocols.pool import CONSOLE, WorkerPool

logger = logging.getLogger(__name__)


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

    def finish(self, run: Run, reason: str) -> list[Run]:
        """Takes note that a run has ended, well if there is no reason. The runs that are settled by that."""
        dependants = self._waiting.pop(run.folder, [])
        if not reason:
            self.ready.extendleft(reversed(dependants))
            return [run]
        self.outcome.failed[run] = reason
        self.outcome.not_run += dependants
        return [run, *dependants]


def run_all(runs: list[Run], checkout: Path, jobs: int = 1) -> Outcome:
    """Runs what is not finished, `jobs` at a time, with progress on stderr.

    The finished ones are given to train.py too, which refuses those that were run with other settings.
    Raises ConfigError where train.py cannot be imported. Ctrl-C and SIGTERM let the runs save their states and raise
    KeyboardInterrupt; a second one ends them at once.
    """
    left = {run for run in runs if not run.finished(checkout)}
    logger.info("%d runs: %d finished already, %d to do", len(runs), len(runs) - len(left), len(left))
    schedule, running = Schedule(runs), {}
    with interrupt_on_sigterm(), WorkerPool(checkout, jobs) as pool, _progress(len(left)) as bar:
        while schedule.ready or running:
            while schedule.ready and len(running) < jobs:
                run = schedule.ready.popleft()
                running[pool.submit(run)] = run
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                run = running.pop(future)
                settled = schedule.finish(run, future.result())
                bar.set_postfix_str(_state(schedule.outcome, run), refresh=False)
                bar.update(len(left.intersection(settled)))
    return schedule.outcome


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """SIGTERM, which job schedulers send, has the effect of Ctrl-C meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(total: int) -> tqdm:
    return tqdm(total=total, unit="run", dynamic_ncols=True, disable=not total)


def _state(outcome: Outcome, run: Run) -> str:
    """What stands beside the progress: failures so far, and the last run that ended."""
    _, _, dataset, _, method, _, seed = run.name.split("/")
    failed = f"{len(outcome.failed)} failed, " if outcome.failed else ""
    return f"{failed}{method} {dataset} {seed}"
