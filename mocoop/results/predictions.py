"""predictions.csv: what a method said of each image of a test set, one row per image in the loader's order.

Columns: `path` (relative to the data root where it lies below it), `label` and `prediction` (label numbers),
`confidence` (softmax probability of the prediction), `domain` (its name, or empty), and for methods that route
`experts` (names, best first) and `gates` (their weights). `read_table` reads any csv that a run leaves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError, quoted, reason_of
from mocoop.files import atomic_write
from mocoop.names import SEPARATOR
from mocoop.results.record import FILE_NAME as RECORD

FILE_NAME = "predictions.csv"
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
    path = Path(folder) / FILE_NAME
    frame, classes = read_predictions(path), record["per_class"]
    labels = pd.concat([frame["label"], frame["prediction"]])
    if len(frame) != record["num_test"] or not labels.between(0, len(classes) - 1).all():
        raise DataError(
            f"{folder}: {FILE_NAME} has {len(frame)} images of labels up to {labels.max()}, {RECORD} tells of "
            f"{record['num_test']} images of {len(classes)} classes; test the run again"
        )
    right = (frame["label"] == frame["prediction"]).groupby(frame["label"]).agg(["size", "sum"])
    found = {label: tuple(map(int, counts)) for label, *counts in right.itertuples()}
    for row in classes:
        counted, stated = found.get(row["label"], (0, 0)), (row["total"], row["correct"])
        if counted != stated:
            raise DataError(
                f"{folder}: {FILE_NAME} has {counted[1]} of {counted[0]} images of {quoted(row['classname'])} right, "
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
