"""Worker processes, as many as run at a time, each kept from run to run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mocoop.errors import ConfigError
from mocoop.protocols.plan import Run

CONSOLE = "console.txt"  # in a run's folder, what it printed; only if it failed or was interrupted
ATTEMPTS = 2


class WorkerDied(Exception):
    """A worker process that ended in the middle of a run."""


class Worker:
    """One process of `mocoop.protocols.worker`. Raises ConfigError where it cannot import train.py."""

    def __init__(self, checkout: Path, threads: int):
        settings = {"OMP_NUM_THREADS": str(threads)} | os.environ
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mocoop.protocols.worker"],
            cwd=checkout,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is for its parent
        )
        self.started = False

    def run(self, argv: tuple[str, ...], console: Path) -> str:
        """Runs train.py; why it failed, or an empty string. Raises WorkerDied."""
        if not self.started:
            if reason := self._answer():
                raise ConfigError(reason)
            self.started = True
        try:
            print(json.dumps({"argv": argv, "console": str(console)}), file=self.process.stdin)
        except BrokenPipeError:
            pass  # it has died by now, as its missing answer says
        return self._answer()

    def stop(self) -> None:
        """Asks it to end: at once if it is idle, else when the run has saved its state."""
        self.process.terminate()

    def end(self) -> None:
        """Ends it at once, with what it started, whatever it does."""
        if self.process.returncode is None:  # so that the group's number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        if line.endswith("\n"):
            return json.loads(line)["reason"]
        self.end()
        status = self.process.returncode
        raise WorkerDied(signal.Signals(-status).name if status < 0 else f"status {status}")


class WorkerPool:
    """At most `size` workers, started when they are needed; they share the processor's cores."""

    def __init__(self, checkout: Path, size: int):
        self.checkout, self.threads = checkout, max(1, _cores() // size)
        self._executor = ThreadPoolExecutor(size)
        self._workers, self._idle = [], []
        self._lock, self._closed = threading.Lock(), False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
        """Ends the workers once their runs have saved their states; at once on a KeyboardInterrupt."""
        with self._lock:
            self._closed = True
        for worker in self._workers:
            worker.stop()
        try:
            self._executor.shutdown(cancel_futures=True)
        finally:
            for worker in self._workers:
                worker.end()

    def submit(self, run: Run) -> "Future[str]":
        """Runs it when a worker is free; the future's result says why it failed, or is an empty string."""
        return self._executor.submit(self._run, run)

    def _run(self, run: Run) -> str:
        console = self.checkout / run.folder / CONSOLE
        for _ in range(ATTEMPTS):
            worker = self._take()
            try:
                reason = worker.run(run.argv, console)
            except WorkerDied as death:
                reason = f"its process died ({death})"
                continue
            self._idle.append(worker)
            return reason
        return f"{reason}, {ATTEMPTS} times"

    def _take(self) -> Worker:
        with self._lock:
            if self._closed:
                raise WorkerDied("the pool is closed")
            if self._idle:
                return self._idle.pop()
            worker = Worker(self.checkout, self.threads)
            self._workers.append(worker)
            return worker


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
