"""Figures of routing: which experts are chosen, how evenly they are weighed, how alike they are, and for which images.

Experts chosen by style, dataset and class, and how alike experts are, are heat maps; a contact sheet shows for each
expert the images that its router trusts it with most.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mocoop.errors import DataError
from mocoop.images import AS_COOP, read_image
from mocoop.pixels import Reading
from mocoop.results.figures import style
from mocoop.results.figures.style import COLOURS, PAGE_WIDTH, SMALL, panel_grid, styled, styled_without_grid, wrapped
from mocoop.results.routing import Spread, concentration, over_seeds, strongest_images, that_route
from mocoop.results.tables import PHASE_NAMES

COLOUR_MAP = "Blues"
DARK = 0.68  # of the scale, from where on numbers are white
ABSENT: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#bbbbbb", "hatch": "////", "linewidth": 0}
LABEL_WIDTH = 26  # characters
NUMBER_WIDTH = 0.24  # inches of a cell, at least, for a number of three digits
LABEL_ROOM = 0.22  # inches of a column, at least, for a slanted label


def percent(value: float) -> str:
    return f"{value:.0f}"


def draw_heatmaps(
    figure: Figure,
    tables: Mapping[str, pd.DataFrame],
    axes: list[Axes],
    label: str,
    scale: tuple[float, float] = (0, 100),
    number: Callable[[float], str] | None = percent,
) -> None:
    """A heatmap per title, rows and columns labelled by the table's, with one colour bar for all.

    A NaN is a hatched cell: there is no such thing. number: how a cell's value is written; None leaves it out.
    """
    norm = Normalize(*scale)
    for axis, (title, table) in zip(axes, tables.items()):
        image = axis.imshow(table, cmap=COLOUR_MAP, norm=norm, aspect="auto")
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            if np.isnan(value):
                axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **ABSENT))
            elif number is not None:
                colour = "white" if norm(value) > DARK else "black"
                axis.text(column, row, number(value), ha="center", va="center", fontsize=SMALL, color=colour)
        axis.set_title(title)
        label_cells(axis, table)
    figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.04, aspect=30)


def label_cells(axis: Axes, table: pd.DataFrame) -> None:
    """The names of a table's rows and columns as tick labels, upright where columns are too narrow for slanted ones."""
    columns, rows = (
        [style.literal(style.squeezed(str(name), LABEL_WIDTH)) for name in names] for names in table.axes[::-1]
    )
    grid = axis.get_gridspec()
    narrow = PAGE_WIDTH / (grid.ncols if grid else 1) - 1.4 < LABEL_ROOM * len(columns)
    turn = {"rotation": 90, "fontsize": SMALL} if narrow else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(columns)), columns, **({"fontsize": 8} | turn))
    axis.set_yticks(range(len(rows)), rows, fontsize=8 if len(rows) <= 20 else SMALL)
    axis.tick_params(length=0)


def fits_numbers(columns: int, width: float, room: float = NUMBER_WIDTH) -> bool:
    """Whether a heatmap `width` inches wide has cells of at least `room` inches."""
    return width / max(1, columns) >= room


COSINE_LABEL = "cosine, mean over classes"
NUMBER_ROOM = 0.2  # inches of a cell, for .87


@styled_without_grid
def expert_similarity_figure(similarities: Mapping[str, Spread]) -> Figure:
    """A panel per dataset: the cosine between two experts' features of a class, averaged over classes and seeds.

    similarities: {dataset: (E, E) tables}, as `runs.interpretation.similarities_by_dataset` computes them.
    """
    tables = {title: spread.mean for title, spread in similarities.items()}
    experts = max(map(len, tables.values()))
    most = 1 if len(tables) == 1 or experts > 12 else 2 if experts > 6 or len(tables) in (2, 4) else 3
    figure, axes = panel_grid(len(tables), max(2.2, 0.9 + 0.24 * experts), most=most)
    lowest = min(float(table.to_numpy().min()) for table in tables.values())
    numbers = hundredths if fits_numbers(experts, (PAGE_WIDTH - 1.5) / most - 0.6, NUMBER_ROOM) else None
    draw_heatmaps(figure, tables, axes, COSINE_LABEL, (np.floor(lowest * 10) / 10, 1.0), numbers)
    largest = [spread.largest for spread in similarities.values() if np.isfinite(spread.largest)]
    if largest:
        figure.supxlabel(f"mean over seeds; standard deviation over seeds at most {max(largest):.3f}", fontsize=8)
    return figure


def hundredths(value: float) -> str:
    """.87 for 0.87, to save room; 1 for one."""
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1) if value < 0.995 else "1"


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
    return _share_figure(tables, shares.largest, 1.5 + 0.135 * tallest)


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
    figure = _share_figure(tables, largest, height * (len(tables) if stacked else 1), stacked, shared_rows=True)
    figure.axes[0].set_ylabel(rows)
    return figure


def _share_figure(
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
                shapes[kind] = _draw_distribution(axis, centre, width, by_kind[kind], most, FILLS[number % len(FILLS)])
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


def _draw_distribution(
    axis: Axes, centre: float, width: float, by_seed: Mapping[int, np.ndarray], most: float, colour: str
) -> BarContainer:
    counts, edges = np.histogram(np.concatenate(list(by_seed.values())), BINS, (0, most + 1e-6))
    widths = 0.92 * width * counts / max(1, counts.max())
    shape = axis.barh(edges[:-1], widths, np.diff(edges), left=centre - widths / 2, align="edge", color=colour)
    means = [values.mean() for values in by_seed.values() if len(values)]
    axis.plot([centre] * len(means), means, **DOT)
    return shape


PIXELS = 128  # of an image's longer side
LARGEST = 1.0  # inches of an image
TEXT_HEIGHT = 0.45  # inches above it
LETTER = 0.058  # inches, about
RIGHT, WRONG = COLOURS[2], COLOURS[4]
MANY_EXPERTS = 8  # more stand two in a row
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tile:
    """One image of the sheet; `picture` is None where the file is missing or no image."""

    path: str
    classname: str
    gate: float
    correct: bool
    picture: np.ndarray | None


def contact_tiles(
    predictions: pd.DataFrame, experts: list[str], root: Path, count: int = 6, reading: Reading = AS_COOP
) -> dict[str, list[Tile]]:
    """The `count` images with the highest gate weight of each expert, read from below `root` as the run read them.

    predictions: of one run, with `classname`, as `predictions_of` gives them.
    """
    return {
        expert: [
            Tile(
                row.path,
                row.classname,
                row.gate,
                row.label == row.prediction,
                read_small(Path(root) / row.path, reading),
            )
            for row in strongest_images(predictions, expert, count).itertuples()
        ]
        for expert in experts
    }


def read_small(path: Path, reading: Reading = AS_COOP) -> np.ndarray | None:
    """The image with a longer side of at most PIXELS, (height, width, 3); None if it cannot be read."""
    try:
        small = read_image(path, reading)
    except DataError as error:
        logger.debug("%s is left out: %s", path, error)
        return None
    small.thumbnail((PIXELS, PIXELS))
    return np.asarray(small)


@styled_without_grid
def contact_sheet(tiles: dict[str, list[Tile]]) -> Figure:
    """A row per expert, or half a row where they are many; above each image its true class and the gate weight.

    A tick and a blue frame say that the prediction is right, a cross and an orange frame that it is wrong.
    """
    beside, most = (2, 4) if len(tiles) > MANY_EXPERTS else (1, 6)
    count = min(most, max(1, *map(len, tiles.values())))
    rows, columns = -(-len(tiles) // beside), beside * (count + 1)
    tile = min(LARGEST, PAGE_WIDTH / columns)
    figure = Figure(figsize=(tile * columns, rows * (tile + TEXT_HEIGHT)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for place, (expert, shown) in enumerate(tiles.items()):
        row, column = place % rows, (place // rows) * (count + 1)
        axes[row, column].text(
            0.5, 0.5, wrapped(expert, 13, 3), ha="center", va="center", fontweight="bold", fontsize=8
        )
        if not shown:
            axes[row, column + 1].text(0.5, 0.5, "chosen for\nno image", ha="center", va="center", fontsize=7)
        for axis, item in zip(axes[row, column + 1 :], shown[:count]):
            _draw_tile(axis, item, width=int(tile / LETTER))
    return figure


def _draw_tile(axis: Axes, tile: Tile, width: int) -> None:
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    if tile.picture is None:
        axis.set_facecolor("#eeeeee")
        axis.text(0.5, 0.5, "image not\nfound", ha="center", va="center", fontsize=SMALL, transform=axis.transAxes)
        axis.set_box_aspect(1)
    else:
        axis.imshow(tile.picture)
    for spine in axis.spines.values():
        spine.set(visible=True, color=RIGHT if tile.correct else WRONG, linewidth=1.5)
    mark = "✓" if tile.correct else "✗"
    axis.set_title(f"{wrapped(tile.classname, width)}\n{mark} {tile.gate:.2f}", fontsize=SMALL, pad=2)
