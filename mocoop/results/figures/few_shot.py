"""Protocol few_shot: accuracy against the number of training images per class, as in CoOp's paper."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.results.aggregate import AVERAGE, over_seeds, seed_matrix
from mocoop.results.collect import ALL_SHOTS
from mocoop.results.figures.style import (
    accuracy_label,
    curve_names,
    entry_looks,
    legend_above,
    panel_grid,
    styled,
    wrapped,
)

MOST = 256  # shots
TRAINED = {"linestyle": "-", "linewidth": 1.2, "markersize": 4}
ZERO_SHOT = {"linestyle": "none", "marker": "*", "markersize": 9}


@styled
def few_shot_figure(runs: pd.DataFrame, seeds: list[int] | None = None) -> Figure:
    """A panel for the average, if there are several datasets, and one for each; a curve per method and cfg.

    Shots stand evenly on a doubling scale, left of them zero-shot results as stars with a dashed line across. Error
    bars are the standard deviation over `seeds` (default: those present); a mean that lacks a seed is not drawn.
    Raises DataError if no mean is complete.
    """
    means = over_seeds(seed_matrix(runs, seeds)).dropna(subset="mean").reset_index()
    if means.empty:
        raise DataError("got no result of protocol few_shot that has all seeds, expected one to draw a curve")
    datasets = sorted(means["dataset"].unique(), key=lambda name: name != AVERAGE)
    looks = _looks(means)
    figure, axes = panel_grid(len(datasets), 2.0 if len(datasets) > 3 else 2.6, most=3)
    for axis, dataset in zip(axes, datasets):
        _draw(axis, means[means["dataset"] == dataset], looks)
        _mark_shots(axis, sorted(means["shots"].unique()))
        title = f"average of {len(datasets) - 1} datasets" if dataset == AVERAGE else wrapped(dataset, 26, 1)
        axis.set_title(title, fontweight="bold" if dataset == AVERAGE else "normal")
    figure.supxlabel("training images per class (0: none, zero-shot)", fontsize=9)
    figure.supylabel(accuracy_label(means["std"]), fontsize=9)
    legend_above(figure, looks, curve_names(looks))
    return figure


def shot_position(shots):
    """Where a number of shots stands on the axis: 0 at 0, then one step for each doubling; all images at MOST."""
    return np.log2(np.clip(shots, 0.5, MOST)) + 1


def _looks(means: pd.DataFrame) -> dict[tuple, dict]:
    most = means.groupby(["method", "cfg"], sort=False)["shots"].max()
    looks = entry_looks(dict.fromkeys(means[["method", "cfg"]].itertuples(index=False, name=None)))
    return {curve: look | (TRAINED if most[curve] > 0 else ZERO_SHOT) for curve, look in looks.items()}


def _draw(axis, means: pd.DataFrame, looks: dict[tuple, dict]) -> None:
    trained = [curve for curve, look in looks.items() if look["marker"] != ZERO_SHOT["marker"]]
    for curve, look in looks.items():
        rows = means[(means["method"] == curve[0]) & (means["cfg"] == curve[1])].sort_values("shots")
        place = shot_position(rows["shots"].to_numpy())
        if curve in trained:  # a little aside, so that error bars do not hide each other
            place = place + (trained.index(curve) - (len(trained) - 1) / 2) * 0.06
        elif len(rows):
            axis.axhline(rows["mean"].iloc[0], color=look["color"], linestyle="--", linewidth=0.8, zorder=1)
        axis.errorbar(place, rows["mean"], rows["std"], elinewidth=0.8, **look)


def _mark_shots(axis, shots: list[int]) -> None:
    axis.set_xticks(shot_position(np.array(shots)), ["all" if number == ALL_SHOTS else str(number) for number in shots])
    axis.margins(x=0.06)
    axis.grid(axis="x", visible=False)
