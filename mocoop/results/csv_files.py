"""The csv files that a run leaves beside its record: predictions.csv, image by image, and history.csv, step by step.

predictions.csv: what a method said of each image of a test set, one row per image in the loader's order. Columns:
`path` (relative to the data root where it lies below it), `label` and `prediction` (label numbers), `confidence`
(softmax probability of the prediction), `domain` (its name, or empty), and for methods that route `experts` (names,
best first) and `gates` (their weights). `Mistakes` is what it got wrong.

history.csv: what each training step gave, one row per step. Columns: `step` and `epoch` (from 1), `lr`, then the values
of the method's loss: `loss`, its parts, `acc`.
"""

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError, quoted, reason_of
from mocoop.files import atomic_write, write_file
from mocoop.names import SEPARATOR
from mocoop.results.record import FILE_NAME as RECORD
from mocoop.results.record import read_record

PREDICTIONS = "predictions.csv"
COLUMNS = ["path", "label", "prediction", "confidence", "domain"]
ROUTED_COLUMNS = ["experts", "gates"]


def predictions_frame(
    paths: Sequence[str],
    labels: np.ndarray,
    predictions: np.ndarray,
    confidence: np.ndarray,
    domains: Sequence[str],
    experts: Sequence[Sequence[str]] | None = None,
    gates: np.ndarray | None = None,
    root: str = "",
) -> pd.DataFrame:
    """The rows of N images: labels, predictions, confidence (N,); experts N lists of K names; gates (N, K);
    both or neither.

    root: the folder that paths below it are written relative to.
    """
    columns = {
        "path": [relative_path(path, root) for path in paths],
        "label": labels,
        "prediction": predictions,
        "confidence": np.round(confidence, 6),
        "domain": domains,
    }
    if experts is not None and gates is not None:
        columns["experts"] = [SEPARATOR.join(names) for names in experts]
        columns["gates"] = [SEPARATOR.join(f"{weight:.6f}" for weight in weights) for weights in gates]
    return pd.DataFrame(columns)


def relative_path(path: str, root: str) -> str:
    """`path` as POSIX text, relative to `root` where it lies below it."""
    whole, base = Path(path).absolute(), Path(root).absolute()
    return (whole.relative_to(base) if root and whole.is_relative_to(base) else whole).as_posix()


def write_predictions(path: str | Path, frame: pd.DataFrame) -> None:
    """Write `predictions_frame`'s table, atomically."""
    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """The table at `path`; `experts` and `gates` are lists per row. Raises DataError if it is missing or damaged."""
    words = dict.fromkeys(["path", "domain", *ROUTED_COLUMNS], str)
    frame = read_table(path, COLUMNS, "test the run again", dtype=words, keep_default_na=False)
    with damage_named(path):
        frame = frame.astype({"label": int, "prediction": int, "confidence": float})
        if set(ROUTED_COLUMNS) <= set(frame.columns):
            frame["experts"] = [text.split(SEPARATOR) for text in frame["experts"]]
            frame["gates"] = [[float(weight) for weight in text.split(SEPARATOR)] for text in frame["gates"]]
    return frame


def answers_of(folder: str | Path, record: dict) -> pd.DataFrame:
    """The predictions of the run in `folder`, whose record it is.

    Raises DataError if they are missing or damaged, or not those that the record counted.
    """
    path = Path(folder) / PREDICTIONS
    frame, classes = read_predictions(path), record["per_class"]
    labels = pd.concat([frame["label"], frame["prediction"]])
    if len(frame) != record["num_test"] or not labels.between(0, len(classes) - 1).all():
        raise DataError(
            f"{folder}: {PREDICTIONS} has {len(frame)} images of labels up to {labels.max()}, {RECORD} counts "
            f"{record['num_test']} images of {len(classes)} classes; test the run again"
        )
    right = (frame["label"] == frame["prediction"]).groupby(frame["label"]).agg(["size", "sum"])
    found = {label: tuple(map(int, counts)) for label, *counts in right.itertuples()}
    for row in classes:
        counted, stated = found.get(row["label"], (0, 0)), (row["total"], row["correct"])
        if counted != stated:
            raise DataError(
                f"{folder}: {PREDICTIONS} has {counted[1]} of {counted[0]} images of {quoted(row['classname'])} right, "
                f"{RECORD} {stated[1]} of {stated[0]}; test the run again"
            )
    return frame


def read_table(path: str | Path, columns: Sequence[str], next_step: str, **options: Any) -> pd.DataFrame:
    """The csv at `path` with at least these columns; `options` are pandas'.

    Raises DataError if it is missing, saying the `next_step` to take, or damaged.
    """
    try:
        with damage_named(path):
            frame = pd.read_csv(path, **options)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {next_step}") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: got no column {', '.join(missing)}, expected {', '.join(columns)}")
    return frame


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """A value that cannot be what its column says becomes a DataError naming the file."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: damaged, {reason_of(error)}") from None


@dataclass(frozen=True)
class Mistakes:
    """A run's test, image by image.

    Attributes:
        images: path, truth, prediction (class names), confidence, right, domain, of methods that route experts and
            gates, and the numbers label and predicted; errors first, the most confident first among them.
        record: the run's result.json.
    """

    images: pd.DataFrame
    record: dict

    def errors(self) -> pd.DataFrame:
        """The wrongly classified images, the most confident first."""
        return self.images[~self.images["right"]]

    def confusions(self) -> pd.DataFrame:
        """label, truth, prediction, count, share: images of a class that were taken for another, and how many percent.

        Most images first.
        """
        keys = ["label", "predicted"]  # two classes may bear one name
        pairs = self.errors().groupby(keys).agg(truth=("truth", "first"), prediction=("prediction", "first"))
        pairs["count"] = self.errors().groupby(keys).size()
        totals = self.images.groupby("label").size()
        pairs["share"] = 100.0 * pairs["count"] / totals.reindex(pairs.index.get_level_values("label")).to_numpy()
        order = {"by": ["count", "share", "truth"], "ascending": [False, False, True]}
        return pairs.sort_values(**order).reset_index()[["label", "truth", "prediction", "count", "share"]]

    def per_class(self) -> pd.DataFrame:
        """class, total, correct, accuracy (percent), taken_for (the class it is most often taken for), worst first.

        Classes without a test image come last, with an empty accuracy.
        """
        rows = pd.DataFrame(self.record["per_class"]).rename(columns={"classname": "class"})
        first = self.confusions().drop_duplicates("label").set_index("label")["prediction"]
        rows["taken_for"] = rows["label"].map(first).fillna("")
        columns = ["class", "total", "correct", "accuracy", "taken_for"]
        return rows[columns].sort_values(["accuracy", "class"], na_position="last", ignore_index=True)

    def overconfidence(self) -> float:
        """Mean confidence less accuracy, in percentage points: above 0 it claims more than it keeps."""
        return float(100.0 * (self.images["confidence"].mean() - self.images["right"].mean()))


def read_mistakes(folder: str | Path) -> Mistakes:
    """The test of the run in `folder`. Raises DataError if it has none, or its two files contradict each other."""
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise DataError(f"no run {folder}, expected the folder of one, with its {RECORD}")
    record = read_record(folder / RECORD)
    if record["status"] != "done":
        raise DataError(f"{folder}: the run is {record['status']}, expected one that is done")
    if not (folder / PREDICTIONS).is_file():
        raise DataError(f"{folder} holds no {PREDICTIONS}: test the run again, so that it is written")
    frame = answers_of(folder, record)
    names = [row["classname"] for row in record["per_class"]]
    right = frame["label"] == frame["prediction"]
    truth, prediction = ([names[label] for label in frame[key]] for key in ("label", "prediction"))
    images = frame.assign(truth=truth, right=right, predicted=frame["prediction"], prediction=prediction)
    columns = ["path", "truth", "prediction", "confidence", "right", "domain", "experts", "gates", "label", "predicted"]
    images = images[[name for name in columns if name in images.columns]].sort_values(
        ["right", "confidence"], ascending=[True, False], kind="stable"
    )
    return Mistakes(images.reset_index(drop=True), record)


def as_text(images: pd.DataFrame) -> pd.DataFrame:
    """A table of images as it is written: lists of experts and gates as in predictions.csv, without label numbers."""
    images = images.drop(columns=["label", "predicted"])
    if "experts" in images.columns:
        images["experts"] = images["experts"].map(SEPARATOR.join)
        images["gates"] = images["gates"].map(lambda gates: SEPARATOR.join(f"{gate:.6f}" for gate in gates))
    return images


HISTORY = "history.csv"
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
