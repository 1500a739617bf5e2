"""What was asked for below an output folder, and what has become of it.

OUTPUT/queue.tsv has a line for each run with the cluster's job that does it, which is empty where the run was started
on a machine. Lines are only added, and the last one of a run counts. The state of a run is read from its record, its
log and its lock, and asked of SLURM if it is installed.
"""

import fcntl
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mocoop.errors import DataError
from mocoop.protocols.plan import CONSOLE, Run
from mocoop.protocols.worker import last_line
from mocoop.results.record import FILE_NAME, glance, read_record
from mocoop.training.folder_lock import holder_of

QUEUE = "queue.tsv"
RUN = re.compile(r"[^/]+/[^/]+/[^/]+/shots_[^/]+/[^/]+/[^/]+/seed[^/]+")
LAYOUT = ("*", "*", "*", "shots_*", "*", "*", "seed*")  # of the runs in an output folder
STATES = ("failed", "interrupted", "running", "queued", "done")
STOPPED = ("Stopped:", "KeyboardInterrupt:")  # what the record of a run says that was asked to stop
LOG_TAIL = 8192  # bytes, more than the lines of a batch
_BATCH = re.compile(r"epoch \[(\d+/\d+)\] batch \[\d+/\d+\].*? loss (\S+) .*eta (\d.*)")


def output_of(runs: list[Run], checkout: Path) -> Path:
    """The output folder that all runs of a request lie in."""
    return (checkout / runs[0].folder).parents[6]


@contextmanager
def open_queue(output: Path) -> Iterator[TextIO]:
    """The queue, locked against other processes until the block ends."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / QUEUE, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def read_queue(output: Path) -> dict[str, str]:
    """The job of each run by the run's name; lines that name no run are passed over."""
    try:
        lines = (output / QUEUE).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return {}
    pairs = (line.partition("\t")[::2] for line in lines)
    return {name: job for name, job in pairs if RUN.fullmatch(name)}


def append_jobs(file: TextIO, jobs: Mapping[str, str]) -> None:
    file.writelines(f"{name}\t{job}\n" for name, job in jobs.items())
    file.flush()


def add_to_queue(runs: list[Run], checkout: Path) -> None:
    """Adds the runs that are not there yet, as runs of a machine."""
    output = output_of(runs, checkout)
    with open_queue(output) as file:
        known = read_queue(output)
        append_jobs(file, {run.name: "" for run in runs if run.name not in known})


@dataclass(frozen=True)
class State:
    """Of one run. status: one of STATES. detail: why it failed, how far it is, or what it waits for."""

    name: str
    status: str
    detail: str = ""


def states(folder: Path, jobs: dict[str, tuple[str, str]]) -> Iterator[State]:
    """The state of each run that was asked for or started in a folder, in the order of their names.

    folder: an output folder, or a part of one. jobs: SLURM's state of each job that it knows, and its reason.
    """
    folder = folder.absolute()
    output = _output_of(folder)
    queued = read_queue(output)
    shared = {job for job, count in Counter(queued.values()).items() if count > 1}
    started = {"/".join(path.parts[-7:]) for path in output.glob("/".join(LAYOUT))}
    for name in sorted(started | queued.keys()):
        if (output / name).is_relative_to(folder):
            job = queued.get(name, "")
            yield _state(name, output / name, job, jobs, job in shared)


def _output_of(folder: Path) -> Path:
    """The output folder that a folder is or is a part of, by a run in it or by the queue; itself if it has neither."""
    for depth in range(len(LAYOUT) + 1):
        for path in folder.glob("/".join(LAYOUT[depth:])) if LAYOUT[depth:] else [folder]:
            if RUN.fullmatch("/".join(path.parts[-len(LAYOUT) :])):
                return path.parents[len(LAYOUT) - 1]
    above = (folder, *folder.parents)[: len(LAYOUT) + 1]
    return next((path for path in above if (path / QUEUE).is_file()), folder)


def _state(name: str, folder: Path, job: str, jobs: dict[str, tuple[str, str]], is_shared: bool) -> State:
    """is_shared: whether the job has several runs, of which one goes on at a time."""
    status, _ = glance(folder / FILE_NAME)
    if status == "done":
        return State(name, "done")
    if holder_of(folder):
        return State(name, "running", progress(folder))
    reason = why_failed(folder)
    if job in jobs and not (is_shared and reason and not reason.startswith(STOPPED)):
        waiting = is_shared or jobs[job][0] == "PENDING"
        return State(name, "queued" if waiting else "running", f"job {job}, {': '.join(filter(None, jobs[job]))}")
    if status == "running" or reason.startswith(STOPPED):
        return State(name, "interrupted", progress(folder))
    if job and not reason:
        reason = f"SLURM's job {job} is gone and left no result"
    return State(name, "failed" if reason else "queued", reason)


def why_failed(folder: Path) -> str:
    """The line that says why a run that goes on no more has failed; empty if none does."""
    try:
        record = read_record(folder / FILE_NAME)
        if record["status"] == "failed":
            return record["error"] or "it failed without a word"
    except DataError:
        if (folder / CONSOLE).is_file():  # it failed before it had a record
            return last_line(folder / CONSOLE)
    return ""


def progress(folder: Path) -> str:
    """Epoch, loss and time left by the last line of a run's log that has them; empty if none has."""
    logs = sorted(filter(Path.is_file, folder.glob("log.txt*")), key=lambda path: path.stat().st_mtime)
    if not logs:
        return ""
    with open(logs[-1], "rb") as file:
        file.seek(max(0, logs[-1].stat().st_size - LOG_TAIL))
        text = file.read().decode(errors="replace")
    if "Evaluate on" in text:
        return "testing"
    found = _BATCH.findall(text)
    return "epoch {}, loss {}, {} left".format(*found[-1]) if found else ""
