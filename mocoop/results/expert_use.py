"""Which experts answered which images, out of the predictions that runs left behind.

All functions take predictions as `read_predictions` gives them: a row per image, `experts` and `gates` lists, best
first. Shares are percentages of images.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.results.predictions import FILE_NAME, answers_of
from mocoop.results.record import FILE_NAME as RECORD_NAME
from mocoop.results.record import read_record


@dataclass(frozen=True)
class Spread:
    """A table's mean over seeds and its sample standard deviation, NaN where there is one seed only."""

    mean: pd.DataFrame
    std: pd.DataFrame

    @property
    def largest(self) -> float:
        """The largest standard deviation of all cells; NaN where none is known."""
        return float(np.nanmax(self.std.to_numpy())) if self.std.notna().to_numpy().any() else float("nan")


def over_seeds(tables: list[pd.DataFrame]) -> Spread:
    """Of one table per seed, with equal rows and columns or some missing; in the order of first appearance."""
    together = pd.concat(tables)
    cells = together.groupby(level=0, sort=False)
    return Spread(cells.mean(), cells.std(ddof=1))


def that_route(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs (rows of `collect`) of methods that route."""
    return runs[[isinstance(routing, dict) for routing in runs["routing"]]]


def with_predictions(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that left their predictions."""
    return runs[[(Path(folder) / FILE_NAME).is_file() for folder in runs["folder"]]]


def predictions_of(run) -> pd.DataFrame:
    """The predictions of a run (a row of `collect`), with the column `classname` added.

    Raises DataError if they are missing or damaged, or do not fit the run's record.
    """
    path, record = Path(run.folder) / FILE_NAME, read_record(Path(run.folder) / RECORD_NAME)
    frame = answers_of(run.folder, record)
    if "experts" not in frame:
        raise DataError(f"{path}: no column experts, expected the predictions of a method that routes")
    names = {row["label"]: row["classname"] for row in record["per_class"]}
    return frame.assign(classname=frame["label"].map(names))


def chosen_shares(predictions: pd.DataFrame, experts: list[str], by: str) -> pd.DataFrame:
    """How often each expert is among an image's chosen ones, per value of the column `by`: (values, experts)."""
    chosen = pd.DataFrame({expert: [expert in row for row in predictions["experts"]] for expert in experts})
    return 100.0 * chosen.groupby(predictions[by].to_numpy(), sort=False).mean()


def class_shares(runs: pd.DataFrame) -> Spread:
    """`chosen_shares` by class over the seeds of one method on one dataset, classes in label order."""
    tables = []
    for run in runs.itertuples():
        predictions = predictions_of(run).sort_values("label", kind="stable")
        tables.append(chosen_shares(predictions, run.routing["groups"], "classname"))
    return over_seeds(tables)


def strongest_images(predictions: pd.DataFrame, expert: str, count: int) -> pd.DataFrame:
    """The `count` images with the highest weight of `expert`, in a column `gate`, best first."""
    weights = [
        dict(zip(chosen, gates)).get(expert, np.nan)
        for chosen, gates in zip(predictions["experts"], predictions["gates"])
    ]
    weighted = predictions.assign(gate=weights).dropna(subset="gate")
    return weighted.sort_values("gate", ascending=False, kind="stable").head(count)


def concentration(shares: pd.DataFrame) -> pd.Series:
    """Per row: 1 where all images have the same experts, 0 where every expert is chosen equally often."""
    parts = shares.div(shares.sum(axis=1), axis=0).to_numpy()
    logs = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    even = np.log(shares.shape[1]) if shares.shape[1] > 1 else 1.0
    return pd.Series(1.0 + (parts * logs).sum(axis=1) / even, index=shares.index)
