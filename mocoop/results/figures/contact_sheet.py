"""A contact sheet: for each expert the images that its router trusts it with most."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.images import AS_COOP, read_image
from mocoop.pixels import Reading
from mocoop.results.figures.style import COLOURS, PAGE_WIDTH, SMALL, styled_without_grid, wrapped
from mocoop.results.routing import strongest_images

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
            _draw(axis, item, width=int(tile / LETTER))
    return figure


def _draw(axis: Axes, tile: Tile, width: int) -> None:
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
