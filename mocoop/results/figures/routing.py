"""Which experts a router chooses, by style, data set and class, and how evenly it weighs them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mocoop.errors import DataError
from mocoop.results.figures.heatmap import draw_heatmaps, fits_numbers, percent
from mocoop.results.figures.style import COLOURS, PAGE_WIDTH, styled, styled_without_grid, wrapped
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


def _by_phase(runs: pd.DataFrame, tabulate: Callable[[pd.DataFrame], pd.DataFrame], rows: str) -> Figure:
    """A panel per phase; `tabulate(runs of a seed)` gives one seed's table."""
    phases = [phase for phase in PANELS if (runs["phase"] == phase).any()]
    spreads = {
        PANELS[phase]: over_seeds([tabulate(of_seed) for _, of_seed in runs[runs["phase"] == phase].groupby("seed")])
        for phase in phases
    }
    names = list(dict.fromkeys(name for spread in spreads.values() for name in spread.mean.index))
    tables = {title: spread.mean.reindex(names) for title, spread in spreads.items()}
    largest = max((spread.largest for spread in spreads.values() if math.isfinite(spread.largest)), default=math.nan)
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


BINS = 30
MANY = 6  # datasets, from where on their names are slanted
DOT: dict[str, Any] = {"marker": "o", "color": "black", "markersize": 3, "linestyle": "none"}
FILLS = [COLOURS[6], COLOURS[1], COLOURS[5], COLOURS[7]]


@styled
def gate_entropy_figure(entropies: Mapping[str, Mapping[str, Mapping[int, np.ndarray]]], top_k: int) -> Figure:
    """The distribution over images per dataset and class set, seeds pooled, with a dot for the mean of each seed.

    entropies: {dataset: {"base classes": {seed: (N,) nats}}}. The scale runs from 0, one expert decides, to ln K.
    Raises DataError for a top_k of 1, where there is nothing to weigh, and if there is no image.
    """
    if top_k < 2:
        raise DataError("got top-k 1, expected at least 2 experts an image: one alone always weighs 1")
    kinds = list(dict.fromkeys(kind for by_kind in entropies.values() for kind in by_kind))
    if not kinds:
        raise DataError("got no image with gate weights, expected predictions of a method that routes")
    figure = Figure(figsize=(PAGE_WIDTH, 2.8), layout="constrained")
    axis = figure.subplots()
    most = np.log(top_k)
    width = 0.8 / len(kinds)
    shapes = {}
    for place, by_kind in enumerate(entropies.values()):
        for number, kind in enumerate(kinds):
            if kind in by_kind:
                centre = place + (number - (len(kinds) - 1) / 2) * width
                shapes[kind] = _draw(axis, centre, width, by_kind[kind], most, FILLS[number % len(FILLS)])
    axis.axhline(most, color="black", linestyle="--", linewidth=0.8)
    note = f"ln {top_k} = {most:.3f}: the {top_k} experts weigh the same"
    axis.text(1, most * 1.01, note, ha="right", va="bottom", fontsize=7, transform=axis.get_yaxis_transform())
    axis.set_ylim(0, most * 1.1)
    beside = max(0, 3 - len(entropies)) / 2  # room where few datasets would be drawn very wide
    axis.set_xlim(-0.6 - beside, len(entropies) - 0.4 + beside)
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    slant = slanted if len(entropies) > MANY else {}
    axis.set_xticks(range(len(entropies)), [wrapped(name) for name in entropies], **slant)
    axis.set_ylabel("entropy of the gate weights (nats)\n0: one expert decides")
    axis.grid(axis="x", visible=False)
    handles: list[Any] = [*(shapes[kind] for kind in kinds), Line2D([], [], **DOT)]
    figure.legend(handles, [*kinds, "mean of each seed"], loc="outside upper center", ncols=len(handles))
    return figure


def _draw(
    axis: Axes, centre: float, width: float, by_seed: Mapping[int, np.ndarray], most: float, colour: str
) -> BarContainer:
    counts, edges = np.histogram(np.concatenate(list(by_seed.values())), BINS, (0, most + 1e-6))
    widths = 0.92 * width * counts / max(1, counts.max())
    shape = axis.barh(edges[:-1], widths, np.diff(edges), left=centre - widths / 2, align="edge", color=colour)
    means = [values.mean() for values in by_seed.values() if len(values)]
    axis.plot([centre] * len(means), means, **DOT)
    return shape
