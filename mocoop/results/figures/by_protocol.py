"""The figures that a protocol ends in: base against new accuracy, few-shot curves as in CoOp's paper, transfer."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS
from mocoop.results import stats
from mocoop.results.figures import style
from mocoop.results.figures.style import PAGE_WIDTH, entry_looks, panel_grid, styled, styled_without_grid, wrapped
from mocoop.results.runs import ALL_SHOTS
from mocoop.results.stats import AVERAGE, BASE_NEW_COLUMNS, SOURCE_MARK, std_of
from mocoop.results.tables import entry_namer

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
            index = (dataset, *entry)
            row = block.loc[index]
            means = [row[column] for column in BASE_NEW_COLUMNS]
            spread = [row[std_of(column)] for column in BASE_NEW_COLUMNS]
            axis.errorbar(np.arange(3) + offset, means, spread, linestyle="none", **look)
        axis.set_title(wrapped(dataset))
        axis.set_xticks(range(3), BASE_NEW_COLUMNS.values())
        axis.set_xlim(-0.5, 2.5)
        axis.grid(axis="x", visible=False)
    figure.supylabel(style.accuracy_label(summary["base_std"]), fontsize=9)
    style.legend_above(figure, looks, map(name, looks), linestyle="none")
    return figure


@styled_without_grid
def base_new_scatter(summary: pd.DataFrame) -> Figure:
    """New against base accuracy: a colour per method, a marker per dataset, and lines of equal H."""
    looks, name = _looks(summary), entry_namer(summary)
    markers = dict(zip(summary.index.unique("dataset"), itertools.cycle(style.MARKERS)))
    figure = Figure(figsize=(PAGE_WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    for (dataset, *entry), row in summary.iterrows():
        look = looks[tuple(entry)] | {"marker": markers[dataset], "markersize": 8 if dataset == AVERAGE else 5}
        axis.errorbar(row["base"], row["new"], row["new_std"], row["base_std"], elinewidth=0.8, **look)
    _draw_equal_h(axis)
    label = style.accuracy_label(summary["base_std"])
    axis.set_xlabel(label.replace("accuracy", "accuracy on base classes"))
    axis.set_ylabel(label.replace("accuracy", "accuracy on new classes"))
    handles = [Line2D([], [], linewidth=3, color=look["color"]) for look in looks.values()]
    handles += [Line2D([], [], linestyle="none", color="grey", marker=marker) for marker in markers.values()]
    names = [style.shortened(label, LEGEND_WIDTH) for label in [*map(name, looks), *markers]]
    figure.legend(handles, names, loc="outside right upper")
    return figure


def _looks(summary: pd.DataFrame) -> dict[tuple, dict]:
    return entry_looks(summary.index.droplevel("dataset").unique())


def _draw_equal_h(axis: Axes) -> None:
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
        axis.annotate(
            f"H = {h}", place, ha="center", va="center", color="grey", fontsize=style.SMALL, bbox=box, zorder=0
        )
    axis.axis((left, right, bottom, top))


MOST_SHOTS = 256  # shots
CURVE_LOOK = {"linestyle": "-", "linewidth": 1.2, "markersize": 4}
ZERO_SHOT = {"linestyle": "none", "marker": "*", "markersize": 9}


@styled
def few_shot_figure(runs: pd.DataFrame, seeds: list[int] | None = None) -> Figure:
    """A panel for the average, if there are several datasets, and one for each; a curve per method and cfg.

    Shots stand evenly on a doubling scale, left of them zero-shot results as stars with a dashed line across. Error
    bars are the standard deviation over `seeds` (default: those present); a mean that lacks a seed is not drawn.
    Raises DataError if no mean is complete.
    """
    means = stats.over_seeds(stats.seed_matrix(runs, seeds)).dropna(subset="mean").reset_index()
    if means.empty:
        raise DataError("got no result of protocol few_shot that has all seeds, expected one to draw a curve")
    datasets = sorted(means["dataset"].unique(), key=lambda name: name != AVERAGE)
    looks = _curve_looks(means)
    figure, axes = panel_grid(len(datasets), 2.0 if len(datasets) > 3 else 2.6, most=3)
    for axis, dataset in zip(axes, datasets):
        _draw_curves(axis, means[means["dataset"] == dataset], looks)
        _mark_shots(axis, sorted(means["shots"].unique()))
        title = f"average of {len(datasets) - 1} datasets" if dataset == AVERAGE else wrapped(dataset, 26, 1)
        axis.set_title(title, fontweight="bold" if dataset == AVERAGE else "normal")
    figure.supxlabel("training images per class (0: none, zero-shot)", fontsize=9)
    figure.supylabel(style.accuracy_label(means["std"]), fontsize=9)
    style.legend_above(figure, looks, style.curve_names(looks))
    return figure


def shot_position(shots: ArrayLike) -> np.ndarray:
    """Where a number of shots stands on the axis: 0 at 0, then one step for each doubling; all images at MOST_SHOTS."""
    return np.log2(np.clip(shots, 0.5, MOST_SHOTS)) + 1


def _curve_looks(means: pd.DataFrame) -> dict[tuple, dict]:
    most = means.groupby(["method", "cfg"], sort=False)["shots"].max()
    looks = entry_looks(dict.fromkeys(means[["method", "cfg"]].itertuples(index=False, name=None)))
    return {curve: look | (CURVE_LOOK if most[curve] > 0 else ZERO_SHOT) for curve, look in looks.items()}


def _draw_curves(axis: Axes, means: pd.DataFrame, looks: dict[tuple, dict]) -> None:
    trained = [curve for curve, look in looks.items() if look["marker"] != ZERO_SHOT["marker"]]
    for curve, look in looks.items():
        rows = means[(means["method"] == curve[0]) & (means["cfg"] == curve[1])].sort_values("shots")
        place = shot_position(rows["shots"].to_numpy())
        if curve in trained:  # a little aside, so that error bars do not hide each other
            place = place + (trained.index(curve) - (len(trained) - 1) / 2) * 0.06
        elif len(rows):
            axis.axhline(rows["mean"].iloc[0], color=look["color"], linestyle="--", linewidth=0.8, zorder=1)
        axis.errorbar(place, rows["mean"], rows["std"], elinewidth=0.8, **look)


def _mark_shots(axis: Axes, shots: list[int]) -> None:
    axis.set_xticks(shot_position(np.array(shots)), ["all" if number == ALL_SHOTS else str(number) for number in shots])
    axis.margins(x=0.06)
    axis.grid(axis="x", visible=False)


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn. name: of its file. about: what it shows, for those who read it."""

    name: str
    title: str
    about: str
    draw: Callable[[], Figure]


def drawings(protocol: str, runs: pd.DataFrame, seeds: list[int] | None = None) -> list[Drawing]:
    """The figures of the runs of a protocol."""
    measure = PROTOCOLS[protocol].measure
    if measure == BASE_NEW:
        summary = stats.summarise(runs, protocol, seeds)
        beside = "The numbers of the table as points, methods side by side; bars are the deviation over seeds."
        against = (
            "New against base accuracy: up and to the right is better. A colour is a method, a marker a dataset; along "
            "a dotted curve H is equal."
        )
        return [
            Drawing("base_new", "Base, new and H", beside, lambda: base_new_figure(summary)),
            Drawing("base_against_new", "New against base", against, lambda: base_new_scatter(summary)),
        ]
    if measure == CURVE:
        about = "Accuracy against the number of training images per class; bars are the deviation over seeds."
        return [Drawing("few_shot", "Few-shot curves", about, lambda: few_shot_figure(runs, seeds))]
    about = "The source on the left, then each target, then the targets' average; bars start at 0."
    return [Drawing("transfer", "Source and targets", about, lambda: transfer_figure(runs, seeds))]


BARS_IN_A_ROW = 40
HATCHES = ["", "//", "..", "xx", "--", "++"]
NUMBERED = 16  # bars, at most, that carry their number


@styled
def transfer_figure(runs: pd.DataFrame, seeds: list[int] | None = None) -> Figure:
    """Bars of accuracy: the source (runs of phase train), each target (phase test) and the targets' average.

    Error bars are the deviation over seeds. Raises DataError if there is no target.
    """
    if not (runs["phase"] == "test").any():
        raise DataError("got no test on another dataset, expected runs of protocol dg or xd")
    summary = stats.transfer(runs, seeds)
    datasets = list(summary.index.unique("dataset"))
    entries = list(summary.index.droplevel("dataset").unique())
    looks = {
        entry: {"facecolor": look["color"], "edgecolor": "white", "hatch": hatch, "linewidth": 0}
        for (entry, look), hatch in zip(entry_looks(entries).items(), itertools.cycle(HATCHES))  # to differ in grey too
    }
    rows = -(-len(datasets) // max(1, BARS_IN_A_ROW // len(looks)))
    per_row = -(-len(datasets) // rows)
    figure, axes = panel_grid(rows, 2.6, most=1, sharey=True)
    for row, axis in enumerate(axes):
        shown = datasets[row * per_row : (row + 1) * per_row]
        _draw_bars(axis, summary, shown, looks, numbered=len(looks) * len(datasets) <= NUMBERED)
        axis.set_xlim(-0.5, per_row - 0.5)
    figure.supylabel(style.accuracy_label(summary["std"]), fontsize=9)
    names = list(map(entry_namer(summary), looks))
    handles = [Patch(**look) for look in looks.values()]
    figure.legend(handles, names, loc="outside upper center", ncols=style.legend_columns(names))
    return figure


def _bar_title(dataset: str) -> tuple[str, str]:
    """What stands below the bars of a dataset, and what it is: source, target or their average."""
    if dataset == AVERAGE:
        return "average\nof targets", "average"
    name = wrapped(dataset.removesuffix(SOURCE_MARK))
    return (f"{name}\n{SOURCE_MARK.strip()}", "source") if dataset.endswith(SOURCE_MARK) else (name, "target")


def _draw_bars(
    axis: Axes, summary: pd.DataFrame, datasets: list[str], looks: dict[tuple, dict], numbered: bool
) -> None:
    width = 0.8 / len(looks)
    for place, (entry, look) in enumerate(looks.items()):
        found = summary.loc[[(dataset, *entry) for dataset in datasets]]
        means, stds = (found[part].to_numpy() for part in ("mean", "std"))
        where = np.arange(len(datasets)) + (place - (len(looks) - 1) / 2) * width
        bars = axis.bar(where, means, width * 0.92, **look)
        axis.errorbar(where, means, stds, linestyle="none", color="#777777", elinewidth=0.8)
        if numbered:
            labels = ["" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
            axis.bar_label(bars, labels, padding=6, fontsize=7)
    titles, kinds = zip(*map(_bar_title, datasets))
    axis.set_xticks(range(len(datasets)), titles)
    for place, (left, right) in enumerate(itertools.pairwise(kinds)):
        if left != right:
            axis.axvline(place + 0.5, color="#999999", linewidth=0.8)
    axis.grid(axis="x", visible=False)
    axis.tick_params(axis="x", length=0)
