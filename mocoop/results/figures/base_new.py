"""Protocol base2new: base, new and H side by side, and new accuracy against base accuracy."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mocoop.results.aggregate import AVERAGE
from mocoop.results.figures.style import (
    MARKERS,
    PAGE_WIDTH,
    SMALL,
    accuracy_label,
    entry_looks,
    legend_above,
    panel_grid,
    shortened,
    styled,
    styled_without_grid,
    wrapped,
)
from mocoop.results.tables import BASE_NEW_COLUMNS, entry_namer

CURVE_STEP = 5  # H between two curves of equal H
LEGEND_WIDTH = 24  # characters


@styled
def base_new_figure(summary: pd.DataFrame, labels: dict | None = None) -> Figure:
    """Base, new and H of each dataset and of their average, with the deviation over seeds as error bars.

    summary: of `aggregate.base_to_new`. labels: {cfg: name} as in the tables.
    """
    looks, name = _looks(summary), entry_namer(summary, labels)
    blocks = list(summary.groupby(level="dataset", sort=False))
    figure, axes = panel_grid(len(blocks), 2.2 if len(blocks) > 4 else 2.8, sharey=len(blocks) <= 4)
    offsets = (np.arange(len(looks)) - (len(looks) - 1) / 2) * 0.8 / len(looks)
    for axis, (dataset, block) in zip(axes, blocks):
        for offset, (entry, look) in zip(offsets, looks.items()):
            row = block.loc[(dataset, *entry)]
            means = [row[column] for column in BASE_NEW_COLUMNS]
            spread = [row[f"{column}_std"] for column in BASE_NEW_COLUMNS]
            axis.errorbar(np.arange(3) + offset, means, spread, linestyle="none", **look)
        axis.set_title(wrapped(dataset))
        axis.set_xticks(range(3), BASE_NEW_COLUMNS.values())
        axis.set_xlim(-0.5, 2.5)
        axis.grid(axis="x", visible=False)
    figure.supylabel(accuracy_label(summary["base_std"]), fontsize=9)
    legend_above(figure, looks, map(name, looks), linestyle="none")
    return figure


@styled_without_grid
def base_new_scatter(summary: pd.DataFrame) -> Figure:
    """New against base accuracy: a colour per method, a marker per dataset, and lines of equal H."""
    looks, name = _looks(summary), entry_namer(summary)
    markers = dict(zip(summary.index.unique("dataset"), itertools.cycle(MARKERS)))
    figure = Figure(figsize=(PAGE_WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    for (dataset, *entry), row in summary.iterrows():
        look = looks[tuple(entry)] | {"marker": markers[dataset], "markersize": 8 if dataset == AVERAGE else 5}
        axis.errorbar(row["base"], row["new"], row["new_std"], row["base_std"], elinewidth=0.8, **look)
    _draw_equal_h(axis)
    label = accuracy_label(summary["base_std"])
    axis.set_xlabel(label.replace("accuracy", "accuracy on base classes"))
    axis.set_ylabel(label.replace("accuracy", "accuracy on new classes"))
    handles = [Line2D([], [], linewidth=3, color=look["color"]) for look in looks.values()]
    handles += [Line2D([], [], linestyle="none", color="grey", marker=marker) for marker in markers.values()]
    names = [shortened(label, LEGEND_WIDTH) for label in [*map(name, looks), *markers]]
    figure.legend(handles, names, loc="outside right upper")
    return figure


def _looks(summary: pd.DataFrame) -> dict[tuple, dict]:
    return entry_looks(summary.index.droplevel("dataset").unique())


def _draw_equal_h(axis) -> None:
    """Dotted curves base -> new of equal H through the visible part of the plot, labelled at the right edge."""
    axis.margins(0.1)
    left, right, bottom, top = (min(edge, 102) for edge in axis.axis())
    base = np.linspace(left, right, 200)
    step = CURVE_STEP * (1 if top - bottom < 50 else 2)
    for h in range(step, 100, step):
        new = h * base / np.where(2 * base > h, 2 * base - h, np.nan)
        inside = np.flatnonzero((new >= bottom + 0.04 * (top - bottom)) & (new <= top))
        if len(inside) < 20:
            continue
        inside = inside[:-8]  # room for the label
        axis.plot(base[inside], new[inside], ":", color="grey", linewidth=0.8, zorder=0)
        place = (base[inside[-1]], new[inside[-1]])
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axis.annotate(f"H = {h}", place, ha="center", va="center", color="grey", fontsize=SMALL, bbox=box, zorder=0)
    axis.axis((left, right, bottom, top))
