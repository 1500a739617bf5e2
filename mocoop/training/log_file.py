"""A copy of standard output in a log file."""

import sys
import time
from pathlib import Path


class TeeLogger:
    """Takes the place of `sys.stdout`, and writes what is printed to a file as well, until `close`."""

    def __init__(self, path=None):
        self.console = sys.stdout
        self.file = None if path is None else _open_new(Path(path))
        sys.stdout = self

    def write(self, text):
        self.console.write(text)
        if self.file is not None:
            self.file.write(text)
        return len(text)

    def flush(self):
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self):
        """Give `sys.stdout` back, if it is still ours, and close the file. May be called twice."""
        if sys.stdout is self:
            sys.stdout = self.console
        if self.file is not None:
            self.file.close()
            self.file = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __getattr__(self, name):
        return getattr(self.__dict__["console"], name)


def setup_logger(output=None) -> TeeLogger:
    """Copy standard output to `output` (a .txt or .log file) or to `log.txt` in the folder `output`.

    An existing log is kept: the new one gets the time in its name. Without `output` nothing is written.
    """
    if output is None:
        return TeeLogger()
    path = Path(output)
    return TeeLogger(path if path.suffix in (".txt", ".log") else path / "log.txt")


def _open_new(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped = f"{path}{time.strftime('-%Y-%m-%d-%H-%M-%S')}"
    names = [str(path), stamped] + [f"{stamped}-{i}" for i in range(2, 1000)]
    for name in names:
        try:
            return open(name, "x", encoding="utf-8", buffering=1)
        except FileExistsError:
            continue
    raise FileExistsError(f'"{path}" and 1000 stamped variants exist already')
