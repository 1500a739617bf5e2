"""The terminal of a command and the log beside it.

The terminal may go away or lack letters, which costs nothing; a log has everything. Its signals are as good as Ctrl-C.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO


class Console:
    """A stream that costs its writer nothing: where it cannot be written to, what is written is dropped.

    Letters that its encoding lacks are escaped.

    Attributes:
        gone: whether it has failed, as after `| head`, or where the terminal was closed; nothing is tried again.
    """

    def __init__(self, stream: TextIO):
        self.stream, self.gone = stream, False

    def write(self, text: str) -> int:
        self._try(self._write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stream"], name)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError as error:
            self.stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))

    def _try(self, action: Callable, *arguments: str) -> None:
        if self.gone:
            return
        try:
            action(*arguments)
        except BlockingIOError:
            pass  # it is full for the moment
        except (OSError, ValueError):  # ValueError: closed
            self.gone = True
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), self.stream.fileno())  # so that Python can flush what is left in it
                self.stream.flush()


@contextlib.contextmanager
def kept_console() -> Iterator[None]:
    """Inside the block, standard output and standard error are `Console`s, even if they were closed from the start."""
    streams = sys.stdout, sys.stderr
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which no file of the run may have
    with open(os.devnull, "w") as nothing:
        sys.stdout, sys.stderr = (Console(nothing if stream is None else stream) for stream in streams)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = streams


class Tee:
    """Passes what is written to a console, and a copy to a file."""

    def __init__(self, console: TextIO, file: TextIO):
        self.console, self.file = console, file

    def write(self, text: str) -> int:
        self.file.write(text)
        return self.console.write(text)

    def flush(self) -> None:
        self.file.flush()
        self.console.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["console"], name)


@contextlib.contextmanager
def logged(folder: str | Path) -> Iterator[Tee]:
    """Copy what is printed to `log.txt` in a folder; an existing log is kept, the new one gets the time in its name."""
    with _open_new(Path(folder) / "log.txt") as file, contextlib.redirect_stdout(Tee(sys.stdout, file)) as tee:
        yield tee


def _open_new(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped = f"{path}{time.strftime('-%Y-%m-%d-%H-%M-%S')}"
    for name in (str(path), stamped, *(f"{stamped}-{i}" for i in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            return open(name, "x", encoding="utf-8", errors="backslashreplace", buffering=1)
    raise FileExistsError(f'"{path}" and 1000 stamped variants exist already')


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Inside the block, SIGTERM, and the SIGHUP of a terminal that closes, have the effect of Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]  # nohup ignores
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
