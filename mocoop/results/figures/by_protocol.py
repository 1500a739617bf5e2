"""The figures that a protocol ends in."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS
from mocoop.results.by_protocol import summarise
from mocoop.results.figures.base_new import base_new_figure, base_new_scatter
from mocoop.results.figures.few_shot import few_shot_figure
from mocoop.results.figures.transfer import transfer_figure


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
        summary = summarise(runs, protocol, seeds)
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
    source = runs["phase"] == "train"
    about = "The source on the left, then each target, then the targets' average; bars start at 0."
    return [
        Drawing("transfer", "Source and targets", about, lambda: transfer_figure(runs[~source], runs[source], seeds))
    ]
