"""history.csv: what each training step gave, one row per step.

Columns: `step` and `epoch` (from 1), `lr`, then the values of the method's loss: `loss`, its parts, `acc`.
"""

import csv
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mocoop.files import write_file
from mocoop.results.predictions import damage_named, read_table

FILE_NAME = "history.csv"
LEADING = ["step", "epoch", "lr"]

logger = logging.getLogger(__name__)


class HistoryWriter:
    """Appends rows to a run's history. A run that resumes after step n keeps the rows up to n and drops later ones.

    Each row is one write of one line; a line cut short by a crash is dropped when the run goes on.
    """

    def __init__(self, path: str | Path, steps_done: int = 0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_up_to(self.path, steps_done) if steps_done else []
        self.columns = kept[0].strip().split(",") if kept else None
        if len(kept[1:]) < steps_done:
            logger.warning("%s lacks %d of the %d steps so far", path, steps_done - len(kept[1:]), steps_done)
        write_file(self.path, "".join(kept))
        self.file = open(self.path, "a", encoding="utf-8", newline="")

    def add(self, step: int, epoch: int, lr: float, values: Mapping[str, float]) -> None:
        """`step` and `epoch` counted from 1."""
        row = {"step": step, "epoch": epoch, "lr": f"{lr:.8g}"} | {
            name: f"{value:.7g}" for name, value in values.items()
        }
        if self.columns is None:
            self.columns = list(row)
            self.file.write(",".join(self.columns) + "\n")
        csv.DictWriter(self.file, self.columns, extrasaction="ignore", lineterminator="\n").writerow(row)

    def flush(self) -> None:
        """Hand the rows to the disk, so that they outlive this process, and a power failure."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_history(path: str | Path) -> pd.DataFrame:
    """The table at `path`, numbers in every column. Raises DataError if it is missing or damaged."""
    frame = read_table(path, LEADING, "it is written by training")
    with damage_named(path):
        return frame.astype(float).astype({"step": int, "epoch": int})


def _lines_up_to(path: Path, step: int) -> list[str]:
    """The header and the whole lines of steps 1 to `step`; none where the file is absent or unusable."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if not lines or not lines[0].startswith(",".join(LEADING)):
        return []
    rows = [line for line in lines[1:] if line.endswith("\n") and line.partition(",")[0].isdecimal()]
    return [lines[0], *(line for line in rows if int(line.partition(",")[0]) <= step)]
