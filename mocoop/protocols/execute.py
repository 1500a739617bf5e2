"""Runs a plan on this machine, some runs side by side, whatever happens to the others.

A worker process (mocoop/protocols/worker.py) for each run that goes on at a time is kept from run to run.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TextIO, cast

from tqdm import tqdm

from mocoop.console import interrupted
from mocoop.errors import ConfigError
from mocoop.protocols.plan import Run
from mocoop.protocols.schedule import GpuMemory, Outcome, Schedule
from mocoop.protocols.status import add_to_queue

OUT_OF_GPU_MEMORY = "out of GPU memory"  # how train.py reports it
Devices = set[str | None]  # GPUs; None is a share of the cores

logger = logging.getLogger(__name__)


class WorkerDied(Exception):
    """A worker process that ended in the middle of a run."""


class Worker:
    """One process of `mocoop.protocols.worker`, on a GPU of its own if one is named, and another one if that dies."""

    stdin: TextIO  # of the process
    stdout: TextIO

    def __init__(self, checkout: Path, device: str | None, threads: int):
        self.checkout, self.device = checkout, device
        self.settings = {"OMP_NUM_THREADS": str(threads)} | os.environ
        if device is not None:
            self.settings["CUDA_VISIBLE_DEVICES"] = device
        self.process: subprocess.Popen[str] | None = None
        self.imported = False

    def start(self) -> None:
        """Starts the process if there is none; it imports train.py while this one goes on."""
        if self.process is not None:
            return
        self.imported = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mocoop.protocols.worker"],
            cwd=self.checkout,
            env=self.settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is for its parent
        )
        self.stdin, self.stdout = cast(TextIO, self.process.stdin), cast(TextIO, self.process.stdout)

    def run(self, run: Run) -> str:
        """Runs train.py; why it failed, or an empty string. Raises WorkerDied; ConfigError if it is not importable."""
        if not self.imported:
            if reason := self._answer()["reason"]:
                raise ConfigError(reason)
            self.imported = True
        job = {"argv": run.argv, "console": str(run.console(self.checkout))}
        with contextlib.suppress(BrokenPipeError):  # it has died by now, as its missing answer says
            print(json.dumps(job), file=self.stdin)
        started, number = time.perf_counter(), cast("subprocess.Popen[str]", self.process).pid
        answer = self._answer()
        seconds = time.perf_counter() - started
        logger.debug("%s: %.2f s; worker %d holds %.0f MB", run.name, seconds, number, answer["held"])
        if answer["spent"]:
            logger.warning("another worker takes over after %s: %s", run.name, answer["spent"])
            self.end()
        return answer["reason"]

    def stop(self) -> None:
        """Asks it to end: at once if it is idle, else when the run has saved its state."""
        if (process := self.process) is not None:
            process.terminate()

    def end(self) -> int:
        """Ends it at once, with what it started, whatever it does; the status that it ended with."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.returncode is None:  # so that the group's number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        return process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self.stdout.readline()
        if line.endswith("\n"):
            return json.loads(line)
        status = self.end()
        raise WorkerDied(signal.Signals(-status).name if status < 0 else f"status {status}")


class WorkerPool:
    """A worker for each of `devices`, started when it is needed; they share the processor's cores.

    Attributes:
        idle: the workers without a run, the one that has been idle longest first.
        running: the worker and the run of each run that goes on, by its future, which gives why the run failed.
    """

    def __init__(self, checkout: Path, devices: Sequence[str | None]):
        threads = max(1, _cores() // len(devices))
        self.workers = [Worker(checkout, device, threads) for device in devices]
        self.idle = list(self.workers)
        self.running: dict[Future[str], tuple[Worker, Run]] = {}
        self._executor = ThreadPoolExecutor(len(devices))

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Ends the workers once their runs have saved their states; at once on a KeyboardInterrupt."""
        for worker in self.workers:
            worker.stop()
        try:
            self._executor.shutdown(cancel_futures=True)
        finally:
            for worker in self.workers:
                worker.end()

    def start(self, worker: Worker, run: Run) -> None:
        self.idle.remove(worker)
        worker.start()
        self.running[self._executor.submit(worker.run, run)] = worker, run

    def on(self, device: str | None) -> list[Run]:
        """The runs that go on on a device."""
        return [run for worker, run in self.running.values() if worker.device == device]

    def ended(self, future: Future[str]) -> tuple[Worker, Run]:
        worker, run = self.running.pop(future)
        self.idle.append(worker)
        return worker, run


def run_all(
    runs: list[Run],
    checkout: Path,
    devices: Sequence[str | None] = (None,),
    retries: int = 0,
    seconds: Callable[[Run], float] = lambda run: 0.0,
    gpu_memory: Mapping[str, float] | None = None,
) -> Outcome:
    """Runs what is not finished, with progress on stderr.

    The finished ones are given to train.py too, which refuses those that were run with other settings. A run whose
    process died is tried once more in any case, on another GPU if there is one, and so is one that ran out of memory
    on a GPU that it shared, alone.

    devices: for each run that may go on at a time, the GPU that it has, or None for a share of the cores.
    retries: how often a run that failed is tried again. seconds: how long a run takes; the longest start first.
    gpu_memory: megabytes of GPUs; beside others a run starts there only if it fits, as far as that is known.
    Raises ConfigError where train.py cannot be imported. Ctrl-C and SIGTERM let the runs save their states and raise
    KeyboardInterrupt; a second one ends them at once.
    """
    left = {run for run in runs if not run.finished(checkout)}
    logger.info("%d runs: %d finished already, %d to do", len(runs), len(runs) - len(left), len(left))
    add_to_queue(runs, checkout)
    schedule = Schedule(runs, seconds)
    tries: Counter[Run] = Counter()
    died_on: dict[Run, Devices] = defaultdict(set)
    memory = GpuMemory(checkout, gpu_memory or {})
    with interrupted(), WorkerPool(checkout, devices) as pool, progress_bar(len(left)) as bar:
        while schedule.ready or pool.running:
            for worker in list(pool.idle):
                beside = pool.on(worker.device)
                fitting = (run for run in schedule.ready if memory.fits(worker.device, run, beside))
                if run := _run_for(worker, fitting, died_on, set(devices)):
                    schedule.ready.remove(run)
                    pool.start(worker, run)
            for future in wait(pool.running, return_when=FIRST_COMPLETED).done:
                worker, run = pool.ended(future)
                reason, allowed = _reason(future), retries
                if isinstance(future.exception(), WorkerDied):
                    died_on[run].add(worker.device)
                    allowed = max(retries, 1)
                elif reason.startswith(OUT_OF_GPU_MEMORY) and devices.count(worker.device) > 1:
                    memory.alone.add(run)
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


def _run_for(worker: Worker, ready: Iterable[Run], died_on: dict[Run, Devices], devices: Devices) -> Run | None:
    """The first run for a worker. One whose process died there is left to other devices, while there are any."""
    return next((run for run in ready if worker.device not in died_on[run] or devices <= died_on[run]), None)


def _reason(future: Future[str]) -> str:
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


def visible_gpus(names: Sequence[str]) -> dict[str, float]:
    """Megabytes of each of some GPUs, as CUDA_VISIBLE_DEVICES names them, up to the first that torch cannot use."""
    if not names:
        return {}
    each = "[cuda.get_device_properties(number).total_memory for number in range(cuda.device_count())]"
    ask = f"from torch import cuda; print({each})"
    settings = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(names)}
    done = subprocess.run([sys.executable, "-c", ask], env=settings, stdout=subprocess.PIPE, check=True, text=True)
    return {name: size / 2**20 for name, size in zip(names, json.loads(done.stdout))}


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
