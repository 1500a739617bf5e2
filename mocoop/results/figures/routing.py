"""Which experts a router chooses: per style of picture, per dataset and per class."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.results.figures.heatmap import draw_heatmaps, fits_numbers, percent
from mocoop.results.figures.style import PAGE_WIDTH, styled_without_grid
from mocoop.results.routing import Spread, concentration, over_seeds, that_route
from mocoop.results.tables import PHASE_NAMES

PANELS = PHASE_NAMES | {"train_all": "all classes", "train": "source", "test": "target"}
LABEL = "images with the expert\nin the top-k (%)"
LOWEST = 2.4  # inches of a figure, for its colour bar
CLASSES_IN_A_PANEL = 50
MOST_CLASSES = 100


@styled_without_grid
def routing_figure(runs: pd.DataFrame) -> Figure:
    """How often each expert is in the router's top-k, per style of picture, a panel for base and for new classes.

    runs: of one method and configuration; datasets are averaged, then seeds. Raises DataError if no run knows its
    images' styles.
    """
    runs = that_route(runs)
    runs = runs[[bool(routing["chosen_by_domain"]) for routing in runs["routing"]]]
    if runs.empty:
        raise DataError("got no run with routing by style, expected runs of a method that routes")
    return _by_phase(runs, _shares_by_style, "true style of the image")


@styled_without_grid
def routing_by_dataset_figure(runs: pd.DataFrame) -> Figure:
    """How often each expert is in the router's top-k, per dataset, a panel for base and for new classes.

    A hatched cell: the dataset has no such expert. Raises DataError if no run routes.
    """
    runs = that_route(runs)
    if runs.empty:
        raise DataError("got no run that routes, expected runs of MoCoOp or Mixture")
    return _by_phase(runs, _shares_by_dataset, "")


@styled_without_grid
def routing_by_class_figure(shares: Spread) -> Figure:
    """How often each expert is in the router's top-k, per class, classes with the same favourite together.

    shares: of `class_shares`. Of more than MOST_CLASSES classes only those with the most and the least
    concentrated choice are shown, which the panels' titles say.
    """
    mean = shares.mean
    if len(mean) > MOST_CLASSES:
        order = concentration(mean).sort_values(ascending=False, kind="stable").index
        half = MOST_CLASSES // 2
        title = f"{{}} concentrated choice\n{half} of {len(mean)} classes"
        tables = {title.format("most"): mean.loc[order[:half]], title.format("least"): mean.loc[order[-half:]]}
    else:
        ordered = _by_favourite(mean)
        panels = -(-len(mean) // CLASSES_IN_A_PANEL)
        tables = {
            " " * number: ordered.iloc[rows] for number, rows in enumerate(np.array_split(range(len(mean)), panels))
        }
    tables = {title: _by_favourite(table) for title, table in tables.items()}
    tallest = max(map(len, tables.values()))
    return _figure(tables, shares.largest, 1.5 + 0.135 * tallest)


def _by_phase(runs: pd.DataFrame, tabulate, rows: str) -> Figure:
    """A panel per phase; `tabulate(runs of a seed)` gives one seed's table."""
    phases = [phase for phase in PANELS if (runs["phase"] == phase).any()]
    spreads = {
        PANELS[phase]: over_seeds([tabulate(of_seed) for _, of_seed in runs[runs["phase"] == phase].groupby("seed")])
        for phase in phases
    }
    names = list(dict.fromkeys(name for spread in spreads.values() for name in spread.mean.index))
    tables = {title: spread.mean.reindex(names) for title, spread in spreads.items()}
    largest = np.array([spread.largest for spread in spreads.values()])
    largest = np.nanmax(largest) if np.isfinite(largest).any() else np.nan
    stacked = not fits_numbers(max(table.shape[1] for table in tables.values()), _width(len(tables)))
    height = 1.6 + 0.24 * len(names)
    figure = _figure(tables, largest, height * (len(tables) if stacked else 1), stacked, shared_rows=True)
    figure.axes[0].set_ylabel(rows)
    return figure


def _figure(
    tables: dict[str, pd.DataFrame], largest: float, height: float, stacked: bool = False, shared_rows: bool = False
) -> Figure:
    """The tables side by side or stacked, with their largest deviation below."""
    figure = Figure(figsize=(PAGE_WIDTH, max(LOWEST, height)), layout="constrained")
    grid = (len(tables), 1) if stacked else (1, len(tables))
    axes = figure.subplots(*grid, sharey=shared_rows, squeeze=False).ravel()
    columns = max(table.shape[1] for table in tables.values())
    numbers = percent if fits_numbers(columns, _width(grid[1])) else None
    draw_heatmaps(figure, tables, list(axes), LABEL, number=numbers)
    if np.isfinite(largest):
        figure.supxlabel(f"mean over seeds; standard deviation over seeds at most {largest:.1f} points", fontsize=8)
    return figure


def _width(panels: int) -> float:
    """Inches of the cells of one of so many panels side by side, about."""
    return (PAGE_WIDTH - 1.6) / panels


def _by_favourite(shares: pd.DataFrame) -> pd.DataFrame:
    """Rows with the same most chosen expert together, the surest first."""
    favourite = shares.to_numpy().argmax(axis=1)
    surest = -shares.max(axis=1).to_numpy()
    return shares.iloc[np.lexsort((surest, favourite))]


def _shares_by_style(runs: pd.DataFrame) -> pd.DataFrame:
    tables = [pd.DataFrame(routing["chosen_by_domain"], routing["groups"]).T for routing in runs["routing"]]
    return pd.concat(tables).groupby(level=0, sort=False).mean()


def _shares_by_dataset(runs: pd.DataFrame) -> pd.DataFrame:
    rows = [pd.Series(routing["chosen"], routing["groups"]) for routing in runs["routing"]]
    return pd.DataFrame(rows, index=runs["dataset"].to_numpy()).sort_index()
