"""Worker processes, as many as runs go on at a time, each kept from run to run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mocoop.errors import ConfigError
from mocoop.protocols.plan import Run


class WorkerDied(Exception):
    """A worker process that ended in the middle of a run."""


class Worker:
    """One process of `mocoop.protocols.worker`, on a GPU of its own if one is named, and another one if that dies."""

    def __init__(self, checkout: Path, device: str | None, threads: int):
        self.checkout, self.device = checkout, device
        self.settings = {"OMP_NUM_THREADS": str(threads)} | os.environ
        if device is not None:
            self.settings["CUDA_VISIBLE_DEVICES"] = device
        self.process, self.imported = None, False

    def start(self) -> None:
        """Makes sure of the process, which imports train.py meanwhile."""
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

    def run(self, run: Run) -> str:
        """Runs train.py; why it failed, or an empty string. Raises WorkerDied; ConfigError if it is not importable."""
        if not self.imported:
            if reason := self._answer():
                raise ConfigError(reason)
            self.imported = True
        job = {"argv": run.argv, "console": str(run.console(self.checkout))}
        with contextlib.suppress(BrokenPipeError):  # it has died by now, as its missing answer says
            print(json.dumps(job), file=self.process.stdin)
        return self._answer()

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
            process.stdin.close()
        return process.wait()

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        if line.endswith("\n"):
            return json.loads(line)["reason"]
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
        self.idle, self.running = list(self.workers), {}
        self._executor = ThreadPoolExecutor(len(devices))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
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

    def ended(self, future: "Future[str]") -> tuple[Worker, Run]:
        worker, run = self.running.pop(future)
        self.idle.append(worker)
        return worker, run


def visible_gpus(names: Sequence[str]) -> int:
    """How many of some GPUs, as CUDA_VISIBLE_DEVICES names them, there are before the first that torch cannot use."""
    if not names:
        return 0
    count = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    settings = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(names)}
    return int(subprocess.run(count, env=settings, stdout=subprocess.PIPE, check=True, text=True).stdout)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
