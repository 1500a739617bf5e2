"""Heatmaps of percentages or similarities, their numbers in the cells where these are wide enough."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mocoop.results.figures.style import PAGE_WIDTH, SMALL, literal, squeezed

COLOURS = "Blues"
DARK = 0.68  # of the scale, from where on numbers are white
ABSENT = {"facecolor": "#f2f2f2", "edgecolor": "#bbbbbb", "hatch": "////", "linewidth": 0}
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
        image = axis.imshow(table, cmap=COLOURS, norm=norm, aspect="auto")
        _mark_absent(axis, table)
        if number is not None:
            _write_numbers(axis, table, norm, number)
        axis.set_title(title)
        label_cells(axis, table)
    figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.04, aspect=30)


def label_cells(axis: Axes, table: pd.DataFrame) -> None:
    """The names of a table's rows and columns as tick labels, upright where columns are too narrow for slanted ones."""
    columns, rows = ([literal(squeezed(str(name), LABEL_WIDTH)) for name in names] for names in table.axes[::-1])
    narrow = PAGE_WIDTH / axis.get_subplotspec().get_gridspec().ncols - 1.4 < LABEL_ROOM * len(columns)
    turn = {"rotation": 90, "fontsize": SMALL} if narrow else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(columns)), columns, **({"fontsize": 8} | turn))
    axis.set_yticks(range(len(rows)), rows, fontsize=8 if len(rows) <= 20 else SMALL)
    axis.tick_params(length=0)


def fits_numbers(columns: int, width: float, room: float = NUMBER_WIDTH) -> bool:
    """Whether a heatmap `width` inches wide has cells of at least `room` inches."""
    return width / max(1, columns) >= room


def _mark_absent(axis: Axes, table: pd.DataFrame) -> None:
    for row, column in np.argwhere(table.isna().to_numpy()):
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **ABSENT))


def _write_numbers(axis: Axes, table: pd.DataFrame, norm: Normalize, number) -> None:
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if not np.isnan(value):
            colour = "white" if norm(value) > DARK else "black"
            axis.text(column, row, number(value), ha="center", va="center", fontsize=SMALL, color=colour)
