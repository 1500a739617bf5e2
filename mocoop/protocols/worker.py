"""A process that imports the trainers once, which takes seconds, and runs one command line of train.py after another.

It keeps the CLIP that was loaded last, too. What a run leaves behind touches no later one: what it held is freed, and a
worker that still holds more than LEAKED_MB, or whose GPU no longer answers, says that it is spent; another takes its
place.

Started in the checkout as `python -m mocoop.protocols.worker`, as the leader of a process group of its own. It reads
one JSON object per line, {"argv": [...], "console": path}, and answers each with {"reason": "", "spent": "", "held":
0}: why the run failed, why no other should follow, and the megabytes that the worker still holds. The first line that
it writes is an answer to its own start. While a run goes on, everything that is printed goes to `console`; a run that
ends well leaves no such file, since its log.txt says the same.

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

LEAKED_MB = 1024.0  # more than a worker held after its first run
MEMORY = Path("/proc/self/smaps_rollup")


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
    if backbone := sys.modules.get("mocoop.backbone"):
        backbone.keep_loaded()
    _answer(answers, "")
    first, held = None, 0.0
    while True:
        job = json.loads(lines.get())
        reason = run_job(train.main, job["argv"], Path(job["console"]))
        try:
            held = free_memory()
            first = held if first is None else first
            leaked = held - first
            spent = f"runs left {leaked:,.0f} MB behind" if leaked > LEAKED_MB else ""
        except RuntimeError as error:  # CUDA's errors stay until the process ends
            spent = f"its GPU no longer answers: {error}".splitlines()[0]
        _answer(answers, reason, spent, held)


def _answer(answers: TextIO, reason: str, spent: str = "", held: float = 0.0) -> None:
    print(json.dumps({"reason": reason, "spent": spent, "held": held}), file=answers)


def _print_to(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def _print_to_nowhere() -> None:
    with open(os.devnull, "wb") as nothing:
        _print_to(nothing.fileno())


def free_memory() -> float:
    """Gives back what the last run held, to the runs beside this one; the megabytes that are held all the same.

    Raises RuntimeError where the GPU has failed.
    """
    gc.collect()
    held = 0.0
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated() / 2**20
    if MEMORY.is_file():
        lines = dict(line.split()[:2] for line in MEMORY.read_text().splitlines()[1:])
        held += int(lines["Anonymous:"]) / 2**10
    return held


if __name__ == "__main__":
    main()
