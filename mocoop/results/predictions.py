"""predictions.csv: what a method said of each image of a test set, one row per image in the loader's order.

Columns: `path` (relative to the data root where it lies below it), `label` and `prediction` (label numbers),
`confidence` (softmax probability of the prediction), `domain` (its name, or empty), and for methods that route
`experts` (names, best first) and `gates` (their weights).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.files import atomic_write
from mocoop.names import SEPARATOR
from mocoop.results.csv_table import damage_named, read_table

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
    """The rows of N images: labels, predictions, confidence (N,); experts N lists of K names; gates (N, K).

    root: the folder that paths below it are written relative to.
    """
    columns = {
        "path": [relative_path(path, root) for path in paths],
        "label": labels,
        "prediction": predictions,
        "confidence": np.round(confidence, 6),
        "domain": domains,
    }
    if experts is not None:
        columns["experts"] = [SEPARATOR.join(names) for names in experts]
        columns["gates"] = [SEPARATOR.join(f"{weight:.6f}" for weight in weights) for weights in gates]
    return pd.DataFrame(columns)


def relative_path(path: str, root: str) -> str:
    """`path` as POSIX text, relative to `root` where it lies below it."""
    path = Path(path).absolute()
    base = Path(root).absolute()
    return (path.relative_to(base) if root and path.is_relative_to(base) else path).as_posix()


def write_predictions(path, frame: pd.DataFrame) -> None:
    """Write `predictions_frame`'s table, atomically."""
    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def read_predictions(path) -> pd.DataFrame:
    """The table at `path`; `experts` and `gates` are lists per row. Raises DataError if it is missing or damaged."""
    words = dict.fromkeys(["path", "domain", *ROUTED_COLUMNS], str)
    frame = read_table(path, COLUMNS, "test the run again", dtype=words, keep_default_na=False)
    with damage_named(path):
        frame = frame.astype({"label": int, "prediction": int, "confidence": float})
        if set(ROUTED_COLUMNS) <= set(frame.columns):
            frame["experts"] = [text.split(SEPARATOR) for text in frame["experts"]]
            frame["gates"] = [[float(weight) for weight in text.split(SEPARATOR)] for text in frame["gates"]]
    return frame
