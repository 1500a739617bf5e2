"""Training curves: the parts of the loss, the batches' accuracy and the learning rate, step by step."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.results.figures.style import entry_looks, legend_above, literal, panel_grid, styled

SMOOTHING = 0.04  # of a run's steps
CROSS_ENTROPY, TOTAL, ACCURACY, RATE = "loss_ce", "loss", "acc", "lr"
TITLES = {
    CROSS_ENTROPY: "cross-entropy",
    "loss_text": "text supervision loss",
    "loss_gate": "routing loss",
    TOTAL: "total loss (weighted sum)",
    ACCURACY: "accuracy of the batches (%)",
    RATE: "learning rate",
}
PLACES = ("step", "epoch")
UNEVEN = 4  # from this ratio of the methods' numbers of steps on, the axis is the share of the training


@styled
def training_figure(histories: Mapping[str, Mapping[int, pd.DataFrame]]) -> Figure:
    """A panel per quantity; seeds thin, their mean strong.

    histories: {method: {seed: history}} with the columns of history.csv. Losses and accuracy are moving means over
    SMOOTHING of the steps. A method whose loss has no parts shows it as cross-entropy, which it is.
    Raises DataError if no history has a step.
    """
    curves = {method: _named_parts(seeds) for method, seeds in histories.items()}
    curves = {method: seeds for method, seeds in curves.items() if seeds}
    if not curves:
        raise DataError("got no history with a training step, expected the history.csv of a run that trained")
    present = {column for seeds in curves.values() for frame in seeds.values() for column in frame}
    extra = sorted(present - set(TITLES) - set(PLACES))
    columns = [column for column in [*TITLES, *extra] if column in present]
    steps = [max(len(frame) for frame in seeds.values()) for seeds in curves.values()]
    uneven = max(steps) >= UNEVEN * min(steps)
    looks = {entry[0]: look for entry, look in entry_looks((method,) for method in curves).items()}
    figure, axes = panel_grid(len(columns), 1.9, most=3, sharex=True)
    for axis, column in zip(axes, columns):
        for method, seeds in curves.items():
            _draw(axis, seeds, column, looks[method], uneven)
        axis.set_title(literal(TITLES.get(column, column)))
    figure.supxlabel(_caption(uneven, several=any(len(seeds) > 1 for seeds in curves.values())), fontsize=8)
    legend_above(figure, looks, map(literal, curves), linewidth=1.8)
    return figure


def _named_parts(seeds: Mapping[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """Histories indexed by step, without empty ones; a loss without parts is named as the cross-entropy it is."""
    named = {}
    for seed, history in seeds.items():
        if not any(column.startswith(f"{TOTAL}_") for column in history):
            history = history.rename(columns={TOTAL: CROSS_ENTROPY})
        if len(history):
            named[seed] = history.drop_duplicates("step", keep="last").set_index("step").sort_index()
    return named


def _draw(axis: Axes, seeds: Mapping[int, pd.DataFrame], column: str, look: dict, share: bool) -> None:
    frames = [frame[column] for frame in seeds.values() if column in frame]
    if not frames:
        return
    table = pd.concat(frames, axis=1).sort_index()  # steps x seeds
    if column != RATE:
        table = smooth(table)
    mean = table.mean(axis=1, skipna=False)
    steps = 100.0 * table.index / table.index.max() if share else table.index
    for number in range(table.shape[1] if table.shape[1] > 1 else 0):
        axis.plot(steps, table.iloc[:, number], color=look["color"], linewidth=0.6, alpha=0.35)
    if mean.notna().any():  # seeds may have no step in common
        axis.plot(steps, mean, markevery=0.22, markersize=4, linewidth=1.5, color=look["color"], marker=look["marker"])


def smooth(table: pd.DataFrame) -> pd.DataFrame:
    """Centred moving means over SMOOTHING of the rows, over fewer at the ends."""
    window = max(1, round(SMOOTHING * len(table)))
    return table.rolling(window, center=True, min_periods=1).mean().where(table.notna())


def _caption(share: bool, several: bool) -> str:
    axis = "share of the training (%)" if share else "training step"
    seeds = "thin: each seed, strong: their mean; " if several else ""
    return f"{axis}\n{seeds}losses and accuracy smoothed by moving means over {SMOOTHING:.0%} of the steps"
