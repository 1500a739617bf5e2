"""What was asked for below an output folder: OUTPUT/queue.tsv, a line for each run with the cluster's job that does it.

Lines are only added, and the last one of a run counts; a job is empty where the run was started on a machine.
"""

import fcntl
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mocoop.protocols.plan import Run

FILE_NAME = "queue.tsv"
RUN = re.compile(r"[^/]+/[^/]+/[^/]+/shots_[^/]+/[^/]+/[^/]+/seed[^/]+")


def output_of(runs: list[Run], checkout: Path) -> Path:
    """The output folder that all runs of a request lie in."""
    return (checkout / runs[0].folder).parents[6]


@contextmanager
def opened(output: Path) -> Iterator[TextIO]:
    """The queue, which no other process can add to meanwhile."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / FILE_NAME, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def read(output: Path) -> dict[str, str]:
    """The job of each run by the run's name; lines that name no run are passed over."""
    try:
        lines = (output / FILE_NAME).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return {}
    pairs = (line.partition("\t")[::2] for line in lines)
    return {name: job for name, job in pairs if RUN.fullmatch(name)}


def add(file: TextIO, jobs: Mapping[str, str]) -> None:
    file.writelines(f"{name}\t{job}\n" for name, job in jobs.items())
    file.flush()


def note(runs: list[Run], checkout: Path) -> None:
    """Adds the runs that are not there yet, as runs of a machine."""
    output = output_of(runs, checkout)
    with opened(output) as file:
        known = read(output)
        add(file, {run.name: "" for run in runs if run.name not in known})
