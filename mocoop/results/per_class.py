"""Accuracy per class: a table for each data set and phase."""

from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.results.aggregate import over_seeds, seed_matrix
from mocoop.results.record import FILE_NAME, read_record
from mocoop.results.tables import SPREADS, Table, cells, entry_namer, gaps


def per_class_tables(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> list[Table]:
    """A row per class in label order, a column per method. Raises DataError if no run says its classes.

    runs: of `collect`; those without a result.json are left out.
    """
    recorded = runs[[isinstance(folder, str) and (Path(folder) / FILE_NAME).exists() for folder in runs["folder"]]]
    if recorded.empty:
        raise DataError(f"got no run with a {FILE_NAME}, expected one; a log.txt does not say its classes")
    seeds = sorted(runs["seed"].unique()) if seeds is None else seeds
    parts = recorded.groupby(["phase", "dataset"], sort=False)
    return [_table(f"{dataset}, {phase}, per class", part, seeds, spread) for (phase, dataset), part in parts]


def _table(title: str, runs: pd.DataFrame, seeds: list[int], spread: str) -> Table:
    classes = pd.DataFrame([row for run in runs.to_dict("records") for row in _classes(run)])
    summary = over_seeds(seed_matrix(classes, seeds, averaged=[]))
    images = classes.groupby("dataset")["total"].max()
    name, rows = entry_namer(summary), []
    for key, block in summary.groupby(level="dataset", sort=False):
        rows.append([key.partition(" ")[2], str(images[key]), *cells(block, "mean", "std", spread)])
    names = [name(index[1:]) for index in block.index]
    notes = [f"{SPREADS[spread]} Bold: highest mean of its row.", *gaps(over_seeds(seed_matrix(runs, seeds)))]
    return Table(title, ["Class", "Images", *names], rows, notes, spread)


def _classes(run: dict) -> list[dict]:
    """A row for each class of the run; what sets it apart, its label and name, stands in place of the data set."""
    rows = read_record(Path(run["folder"]) / FILE_NAME)["per_class"]
    return [run | {"dataset": f"{row['label']:06d} {row['classname']}", **row} for row in rows]
