"""A process that imports the trainers once, which takes seconds, and runs one command line of train.py after another.

Started in the checkout as `python -m mocoop.protocols.worker`, as the leader of a process group of its own. It reads
one JSON object per line, {"argv": [...], "console": path}, and answers each with {"reason": ""}, or the line that says
why the run failed; the first line it writes is such an answer to its own start. While a run goes on, everything that
is printed goes to `console`; a run that ends well leaves no such file, since its log.txt says the same.

When its input ends, which it does with the process at the other end, however that one dies, the worker ends at once
with all processes that it started: whoever starts the same runs again does not meet it.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from mocoop.checkout import is_checkout


def read_lines(source: TextIO, lines: "SimpleQueue[str]") -> None:
    """Passes on what is sent, in a thread of its own, and ends everything where nothing more can come."""
    try:
        for line in source:
            lines.put(line)
    finally:
        os.killpg(0, signal.SIGKILL)


@contextlib.contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """What this process and those that it starts print meanwhile is written to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        _print_to(file.fileno())
    try:
        yield
    finally:
        sys.stdout.flush()
        _print_to_nowhere()


def run_job(main: Callable[[list[str]], int], argv: list[str], console: Path) -> str:
    """Runs `main(argv)`; why it failed, or an empty string."""
    try:
        return _run_job(main, argv, console)
    except OSError as error:  # of the console: whatever the run raises is printed there
        return f"{console}: {error.strerror}"


def _run_job(main: Callable[[list[str]], int], argv: list[str], console: Path) -> str:
    with printing_to(console):
        try:
            failed = main(argv) != 0
        except SystemExit as ended:  # of argparse, which has said what is wrong
            failed = ended.code not in (0, None)
        except Exception:  # whatever it is, other runs go on and it is named at the end
            traceback.print_exc()
            failed = True
    _free_memory()
    if failed:
        return last_line(console) or "it failed without a word"
    console.unlink(missing_ok=True)
    return ""


def last_line(console: Path) -> str:
    """The last line that was printed, which says what was wrong."""
    lines = console.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "").removeprefix("error: ")


def main() -> None:
    source, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=read_lines, args=(source, lines), daemon=True).start()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    _print_to_nowhere()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        train = importlib.import_module("train" if is_checkout(Path.cwd()) else "mocoop.train")
        train.load()
    except Exception as error:
        _answer(answers, f"train.py cannot be imported: {type(error).__name__}: {error}")
        return
    _answer(answers, "")
    while True:
        job = json.loads(lines.get())
        _answer(answers, run_job(train.main, job["argv"], Path(job["console"])))


def _answer(answers: TextIO, reason: str) -> None:
    print(json.dumps({"reason": reason}), file=answers)


def _print_to(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def _print_to_nowhere() -> None:
    with open(os.devnull, "wb") as nothing:
        _print_to(nothing.fileno())


def _free_memory() -> None:
    """Gives back what the last run held, to the runs beside this one."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
