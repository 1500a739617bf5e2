"""predictions.csv: what a method said of each image of a test set, one row per image in the loader's order.

Columns: `path` (relative to the data root where it lies below it), `label` and `prediction` (label numbers),
`confidence` (softmax probability of the prediction), `domain` (its name, or empty), and for methods that route
`experts` (names, best first) and `gates` (their weights).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.errors import DataError

FILE_NAME = "predictions.csv"
COLUMNS = ["path", "label", "prediction", "confidence", "domain"]
ROUTED_COLUMNS = ["experts", "gates"]
SEPARATOR = "|"


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
    from mocoop.engine.lite.files import atomic_write  # brings torch along, which reading does not need

    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def read_predictions(path) -> pd.DataFrame:
    """The table at `path`; `experts` and `gates` are lists per row. Raises DataError if it is missing or damaged."""
    try:
        frame = pd.read_csv(
            path, dtype={"path": str, "domain": str, "experts": str, "gates": str}, keep_default_na=False
        )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); test the run again") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: damaged, expected a csv ({' '.join(str(error).split())[:200]})") from None
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: got no column {', '.join(missing)}, expected {', '.join(COLUMNS)}")
    try:
        frame = frame.astype({"label": int, "prediction": int, "confidence": float})
        if "experts" in frame.columns and "gates" in frame.columns:
            frame["experts"] = [text.split(SEPARATOR) for text in frame["experts"]]
            frame["gates"] = [[float(weight) for weight in text.split(SEPARATOR)] for text in frame["gates"]]
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: damaged, {' '.join(str(error).split())[:200]}") from None
    return frame
