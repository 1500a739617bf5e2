"""How sharply the router decides: the entropy of the gate weights, image by image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mocoop.errors import DataError
from mocoop.results.figures.style import COLOURS, PAGE_WIDTH, styled, wrapped

BINS = 30
MANY = 6  # datasets, from where on their names are slanted
DOT = {"marker": "o", "color": "black", "markersize": 3, "linestyle": "none"}
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
                shapes[kind] = _draw(axis, centre, width, by_kind[kind], most, FILLS[number % len(FILLS)])
    axis.axhline(most, color="black", linestyle="--", linewidth=0.8)
    note = f"ln {top_k} = {most:.3f}: the {top_k} experts weigh the same"
    axis.text(1, most * 1.01, note, ha="right", va="bottom", fontsize=7, transform=axis.get_yaxis_transform())
    axis.set_ylim(0, most * 1.1)
    beside = max(0, 3 - len(entropies)) / 2  # room where few datasets would be drawn very wide
    axis.set_xlim(-0.6 - beside, len(entropies) - 0.4 + beside)
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(entropies) > MANY else {}
    axis.set_xticks(range(len(entropies)), [wrapped(name) for name in entropies], **slant)
    axis.set_ylabel("entropy of the gate weights (nats)\n0: one expert decides")
    axis.grid(axis="x", visible=False)
    handles = [*(shapes[kind] for kind in kinds), Line2D([], [], **DOT)]
    figure.legend(handles, [*kinds, "mean of each seed"], loc="outside upper center", ncols=len(handles))
    return figure


def _draw(axis, centre: float, width: float, by_seed: Mapping[int, np.ndarray], most: float, colour: str):
    counts, edges = np.histogram(np.concatenate(list(by_seed.values())), BINS, (0, most + 1e-6))
    widths = 0.92 * width * counts / max(1, counts.max())
    shape = axis.barh(edges[:-1], widths, np.diff(edges), left=centre - widths / 2, align="edge", color=colour)
    means = [values.mean() for values in by_seed.values() if len(values)]
    axis.plot([centre] * len(means), means, **DOT)
    return shape
