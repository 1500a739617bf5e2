"""Runs a plan on this machine, some runs side by side, whatever happens to the others."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

from tqdm import tqdm

from mocoop.console import interrupted
from mocoop.protocols import queue
from mocoop.protocols.plan import Run
from mocoop.protocols.pool import Worker, WorkerDied, WorkerPool
from mocoop.protocols.schedule import Outcome, Schedule

logger = logging.getLogger(__name__)


def run_all(
    runs: list[Run],
    checkout: Path,
    devices: Sequence[str | None] = (None,),
    retries: int = 0,
    seconds: Callable[[Run], float] = lambda run: 0.0,
) -> Outcome:
    """Runs what is not finished, with progress on stderr.

    The finished ones are given to train.py too, which refuses those that were run with other settings. A run whose
    process died is tried once more in any case, on another GPU if there is one.

    devices: for each run that may go on at a time, the GPU that it has, or None for a share of the cores.
    retries: how often a run that failed is tried again. seconds: how long a run takes; the longest start first.
    Raises ConfigError where train.py cannot be imported. Ctrl-C and SIGTERM let the runs save their states and raise
    KeyboardInterrupt; a second one ends them at once.
    """
    left = {run for run in runs if not run.finished(checkout)}
    logger.info("%d runs: %d finished already, %d to do", len(runs), len(runs) - len(left), len(left))
    queue.note(runs, checkout)
    schedule, tries = Schedule(runs, seconds), Counter()
    died_on = defaultdict(set)  # run -> GPUs
    with interrupted(), WorkerPool(checkout, devices) as pool, progress_bar(len(left)) as bar:
        while schedule.ready or pool.running:
            for worker in list(pool.idle):
                if run := _run_for(worker, schedule.ready, died_on, set(devices)):
                    schedule.ready.remove(run)
                    pool.start(worker, run)
            for future in wait(pool.running, return_when=FIRST_COMPLETED).done:
                worker, run = pool.ended(future)
                reason, allowed = _reason(future), retries
                if isinstance(future.exception(), WorkerDied):
                    died_on[run].add(worker.device)
                    allowed = max(retries, 1)
                tries[run] += 1
                if reason and tries[run] <= allowed:
                    logger.warning("starts again: %s: %s", run.name, reason)
                    schedule.put_back(run)
                    continue
                if reason and tries[run] > 1:
                    reason = f"{reason}, {tries[run]} times"
                settled = schedule.finish(run, reason)
                bar.set_postfix_str(state(schedule.outcome, run), refresh=False)
                bar.update(len(left.intersection(settled)))
    return schedule.outcome


def _run_for(worker: Worker, ready: list[Run], died_on: dict[Run, set], devices: set) -> Run | None:
    """The first run for a worker. One whose process died there is left to other devices, while there are any."""
    return next((run for run in ready if worker.device not in died_on[run] or devices <= died_on[run]), None)


def _reason(future) -> str:
    """Why a run failed, or an empty string. Raises what is not a run's failure."""
    if isinstance(future.exception(), WorkerDied):
        return f"its process died ({future.exception()})"
    return future.result()


def progress_bar(total: int) -> tqdm:
    return tqdm(total=total, unit="run", dynamic_ncols=True, disable=not total)


def state(outcome: Outcome, run: Run) -> str:
    """What stands beside the progress: failures so far, and the last run that ended."""
    _, _, dataset, _, method, _, seed = run.name.split("/")
    failed = f"{len(outcome.failed)} failed, " if outcome.failed else ""
    return f"{failed}{method} {dataset} {seed}"
