"""How alike the experts' class features are."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mocoop.results.figures.heatmap import draw_heatmaps, fits_numbers
from mocoop.results.figures.style import PAGE_WIDTH, panel_grid, styled_without_grid
from mocoop.results.routing import Spread

LABEL = "cosine, mean over classes"
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
    draw_heatmaps(figure, tables, axes, LABEL, (np.floor(lowest * 10) / 10, 1.0), numbers)
    largest = [spread.largest for spread in similarities.values() if np.isfinite(spread.largest)]
    if largest:
        figure.supxlabel(f"mean over seeds; standard deviation over seeds at most {max(largest):.3f}", fontsize=8)
    return figure


def hundredths(value: float) -> str:
    """.87 for 0.87, to save room; 1 for one."""
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1) if value < 0.995 else "1"
