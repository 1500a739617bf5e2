"""Heat maps: how they are drawn and numbered, and the one of how alike experts are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mocoop.results.figures.style import PAGE_WIDTH, SMALL, literal, panel_grid, squeezed, styled_without_grid
from mocoop.results.routing import Spread

COLOURS = "Blues"
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
    grid = axis.get_gridspec()
    narrow = PAGE_WIDTH / (grid.ncols if grid else 1) - 1.4 < LABEL_ROOM * len(columns)
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


def _write_numbers(axis: Axes, table: pd.DataFrame, norm: Normalize, number: Callable[[float], str]) -> None:
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if not np.isnan(value):
            colour = "white" if norm(value) > DARK else "black"
            axis.text(column, row, number(value), ha="center", va="center", fontsize=SMALL, color=colour)


COSINE_LABEL = "cosine, mean over classes"
NUMBER_ROOM = 0.2  # inches of a cell, for .87


@styled_without_grid
def expert_similarity_figure(similarities: Mapping[str, Spread]) -> Figure:
    """A panel per dataset: the cosine between two experts' features of a class, averaged over classes and seeds.

    similarities: {dataset: (E, E) tables}, as `results.expert_similarity` computes them.
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
