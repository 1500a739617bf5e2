"""A copy of standard output in a run's log."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mocoop.distributed import is_main


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

    def __getattr__(self, name: str):
        return getattr(self.__dict__["console"], name)


@contextlib.contextmanager
def logged(folder: str | Path) -> Iterator[TextIO]:
    """Copy what is printed to `log.txt` in a folder; an existing log is kept, the new one gets the time in its name.

    Of several ranks only the main one prints, and has a log.
    """
    if not is_main():
        yield sys.stdout
        return
    with _open_new(Path(folder) / "log.txt") as file, contextlib.redirect_stdout(Tee(sys.stdout, file)) as tee:
        yield tee


def _open_new(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped = f"{path}{time.strftime('-%Y-%m-%d-%H-%M-%S')}"
    for name in (path, stamped, *(f"{stamped}-{i}" for i in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            return open(name, "x", encoding="utf-8", errors="backslashreplace", buffering=1)
    raise FileExistsError(f'"{path}" and 1000 stamped variants exist already')
