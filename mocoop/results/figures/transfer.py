"""Protocols dg and xd: the source dataset and what the same models reach on others, methods side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mocoop.errors import DataError
from mocoop.results.aggregate import AVERAGE, SOURCE_MARK, transfer
from mocoop.results.figures.style import accuracy_label, entry_looks, legend_columns, panel_grid, styled, wrapped
from mocoop.results.tables import entry_namer

BARS_IN_A_ROW = 40
HATCHES = ["", "//", "..", "xx", "--", "++"]
NUMBERED = 16  # bars, at most, that carry their number


@dataclass(frozen=True)
class Group:
    """The bars of one dataset; kind: source, target or average; means: a row per entry."""

    title: str
    kind: str
    means: pd.DataFrame


@styled
def transfer_figure(
    targets: pd.DataFrame, source: pd.DataFrame | None = None, seeds: list[int] | None = None
) -> Figure:
    """Bars of accuracy: the source, each target, and the targets' average, with the deviation over seeds.

    targets: runs of phase test of protocol dg or xd. source: runs of xd/train, on the models' own dataset.
    Raises DataError if there is no target.
    """
    if targets.empty:
        raise DataError("got no test on another dataset, expected runs of protocol dg or xd")
    parts = [targets.assign(phase="test")] if source is None else [source.assign(phase="train"), targets]
    summary = transfer(pd.concat(parts, ignore_index=True), seeds)
    groups = [_group(name, block.droplevel("dataset")) for name, block in summary.groupby(level="dataset", sort=False)]
    entries = list(summary.index.droplevel("dataset").unique())
    return _figure(groups, _bar_looks(entries), entry_namer(summary))


def _group(name: str, means: pd.DataFrame) -> Group:
    if name == AVERAGE:
        return Group("average\nof targets", "average", means)
    if name.endswith(SOURCE_MARK):
        return Group(f"{wrapped(name.removesuffix(SOURCE_MARK))}\n{SOURCE_MARK.strip()}", "source", means)
    return Group(wrapped(name), "target", means)


def _bar_looks(entries: list[tuple]) -> dict[tuple, dict]:
    """Colours as everywhere, and a hatching for each, so that bars differ in grey too."""
    colours = {entry: look["color"] for entry, look in entry_looks(entries).items()}
    return {
        entry: {"facecolor": colour, "edgecolor": "white", "hatch": HATCHES[place % len(HATCHES)], "linewidth": 0}
        for place, (entry, colour) in enumerate(colours.items())
    }


def _figure(groups: list[Group], looks: dict[tuple, dict], name: Callable[[tuple], str]) -> Figure:
    rows = -(-len(groups) // max(1, BARS_IN_A_ROW // len(looks)))
    per_row = -(-len(groups) // rows)
    figure, axes = panel_grid(rows, 2.6, most=1, sharey=True)
    for row, axis in enumerate(axes):
        shown = groups[row * per_row : (row + 1) * per_row]
        _draw(axis, shown, looks, numbered=len(looks) * len(groups) <= NUMBERED)
        axis.set_xticks(range(len(shown)), [group.title for group in shown])
        axis.set_xlim(-0.5, per_row - 0.5)
    stds = np.concatenate([group.means["std"].to_numpy() for group in groups])
    figure.supylabel(accuracy_label(stds), fontsize=9)
    names = list(map(name, looks))
    handles = [Patch(**look) for look in looks.values()]
    figure.legend(handles, names, loc="outside upper center", ncols=legend_columns(names))
    return figure


def _draw(axis: Axes, groups: list[Group], looks: dict[tuple, dict], numbered: bool) -> None:
    width = 0.8 / len(looks)
    for place, (entry, look) in enumerate(looks.items()):
        found = [group.means.loc[entry] if entry in group.means.index else None for group in groups]
        means, stds = (np.array([np.nan if row is None else row[part] for row in found]) for part in ("mean", "std"))
        where = np.arange(len(groups)) + (place - (len(looks) - 1) / 2) * width
        bars = axis.bar(where, means, width * 0.92, **look)
        axis.errorbar(where, means, stds, linestyle="none", color="#777777", elinewidth=0.8)
        if numbered:
            labels = ["" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
            axis.bar_label(bars, labels, padding=6, fontsize=7)
    for place, (left, right) in enumerate(pairwise(groups)):
        if left.kind != right.kind:
            axis.axvline(place + 0.5, color="#999999", linewidth=0.8)
    axis.grid(axis="x", visible=False)
    axis.tick_params(axis="x", length=0)
