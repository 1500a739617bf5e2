"""Figures of many runs, for a screen or a printed page.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; a marker or a number says the same thing
again. Every function returns a matplotlib figure; `save_figure` writes it.
"""

import itertools

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mocoop.errors import DataError
from mocoop.results.aggregate import METHOD_ORDER
from mocoop.results.tables import BASE_NEW_COLUMNS, PHASE_NAMES, entry_namer

COLOURS = ["#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"]
MARKERS = ["o", "P", "s", "^", "D", "v", "X", "p"]
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "errorbar.capsize": 2,
}
PAGE_WIDTH = 7.0  # inches
DPI = 200


def save_figure(figure: Figure, path) -> None:
    """Writes the figure atomically, in the format that the suffix of `path` names (png, pdf, svg)."""
    from mocoop.engine.lite.files import atomic_write  # brings torch along, which drawing does not need

    suffix = str(path).rpartition(".")[2]
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format=suffix, dpi=DPI, bbox_inches="tight")


@matplotlib.rc_context(STYLE)
def base_new_figure(summary: pd.DataFrame, labels: dict | None = None) -> Figure:
    """Base, new and H of each dataset and of their average, with the deviation over seeds as error bars.

    summary: of `aggregate.base_to_new`. labels: {cfg: name} as in the tables.
    """
    looks, name = _looks(summary), entry_namer(summary, labels)
    blocks = list(summary.groupby(level="dataset", sort=False))
    figure = Figure(figsize=(PAGE_WIDTH, 3.0))
    axes = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    offsets = (np.arange(len(looks)) - (len(looks) - 1) / 2) * 0.8 / len(looks)
    for axis, (dataset, block) in zip(axes, blocks):
        for offset, (entry, look) in zip(offsets, looks.items()):
            row = block.loc[(dataset, *entry)]
            means = [row[column] for column in BASE_NEW_COLUMNS]
            spread = [row[f"{column}_std"] for column in BASE_NEW_COLUMNS]
            axis.errorbar(np.arange(3) + offset, means, spread, **look)
        axis.set_title(dataset)
        axis.set_xticks(range(3), BASE_NEW_COLUMNS.values())
        axis.set_xlim(-0.5, 2.5)
        axis.grid(axis="x", visible=False)
    axes[0].set_ylabel("accuracy (%), mean ± std over seeds")
    handles = [Line2D([], [], **look) for look in looks.values()]
    figure.legend(handles, map(name, looks), loc="lower center", bbox_to_anchor=(0.5, 0.97), ncols=min(len(looks), 5))
    return figure


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def base_new_scatter(summary: pd.DataFrame) -> Figure:
    """New against base accuracy: a colour per method, a marker per dataset, and lines of equal H."""
    looks, name = _looks(summary), entry_namer(summary)
    markers = dict(zip(summary.index.unique("dataset"), itertools.cycle(MARKERS)))
    figure = Figure(figsize=(PAGE_WIDTH * 0.75, 4.0))
    axis = figure.subplots()
    for (dataset, *entry), row in summary.iterrows():
        look = looks[tuple(entry)] | {"marker": markers[dataset]}
        axis.errorbar(row["base"], row["new"], row["new_std"], row["base_std"], elinewidth=0.8, **look)
    _draw_equal_h(axis)
    axis.set_xlabel("accuracy on base classes (%), mean ± std over seeds")
    axis.set_ylabel("accuracy on new classes (%)")
    handles = [Line2D([], [], linewidth=3, color=look["color"]) for look in looks.values()]
    handles += [Line2D([], [], linestyle="none", color="grey", marker=marker) for marker in markers.values()]
    axis.legend(handles, [*map(name, looks), *markers], loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def routing_figure(runs: pd.DataFrame) -> Figure:
    """How often each expert is in the router's top-k, per style, on base and on new classes.

    runs: of one method and configuration, of protocol base2new; datasets and seeds are averaged.
    Raises DataError if no run knows its images' styles.
    """
    runs = runs[runs["domain_in_top_k"].notna()]
    phases = [phase for phase in PHASE_NAMES if (runs["phase"] == phase).any()]
    if not phases:
        raise DataError("got no run with routing by style, expected runs of a method that routes")
    shares = {phase: _shares_by_style(runs[runs["phase"] == phase]) for phase in phases}
    styles, experts = shares[phases[0]].shape
    figure = Figure(figsize=(PAGE_WIDTH, 1.2 + 0.24 * styles))
    axes = figure.subplots(1, len(phases), sharey=True, squeeze=False)[0]
    for axis, phase in zip(axes, phases):
        image = axis.imshow(shares[phase], cmap="Blues", vmin=0, vmax=100, aspect="auto")
        _annotate(axis, shares[phase].to_numpy())
        axis.set_title(PHASE_NAMES[phase])
        axis.set_xticks(range(experts), shares[phase].columns, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(styles), shares[phase].index)
        axis.tick_params(length=0)
        axis.set_xlabel("expert")
    axes[0].set_ylabel("true style of the image")
    figure.colorbar(image, ax=axes, label="images with the expert in the top-k (%)", pad=0.02)
    return figure


def _looks(summary: pd.DataFrame) -> dict[tuple, dict]:
    """Colour and marker of each entry: a method keeps its own in every figure, its further configurations others."""
    spare = itertools.cycle([*range(len(METHOD_ORDER), len(COLOURS)), *range(len(METHOD_ORDER))])
    numbers, named = {}, set()
    for entry in summary.index.droplevel("dataset").unique():
        own = entry[0] in METHOD_ORDER and entry[0] not in named
        numbers[entry] = METHOD_ORDER.index(entry[0]) if own else next(spare)
        named.add(entry[0])
    return {
        entry: {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 5, "linestyle": "none"}
        for entry, number in numbers.items()
    }


def _draw_equal_h(axis) -> None:
    """Dotted curves base -> new of equal H through the visible part of the plot, labelled at the right edge."""
    axis.margins(0.1)
    left, right, bottom, top = axis.axis()
    base = np.linspace(left, right, 200)
    for h in range(5, 100, 5):
        new = h * base / np.where(2 * base > h, 2 * base - h, np.nan)
        inside = np.flatnonzero((new >= bottom) & (new <= top))
        if len(inside) < 20:
            continue
        inside = inside[:-8]  # room for the label
        axis.plot(base[inside], new[inside], ":", color="grey", linewidth=0.8, zorder=0)
        place = (base[inside[-1]], new[inside[-1]])
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axis.annotate(f"H = {h}", place, ha="center", va="center", color="grey", fontsize=7, bbox=box, zorder=0)
    axis.axis((left, right, bottom, top))


def _shares_by_style(runs: pd.DataFrame) -> pd.DataFrame:
    """Styles x experts, in percent, averaged over runs."""
    tables = [pd.DataFrame(routing["chosen_by_domain"], routing["groups"]).T for routing in runs["routing"]]
    return sum(tables[1:], tables[0]) / len(tables)


def _annotate(axis, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 60 else "black"
        axis.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6.5, color=colour)
