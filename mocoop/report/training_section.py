"""The section on training: losses, accuracy of the batches and learning rate, step by step."""

from pathlib import Path

import pandas as pd

from mocoop.protocol import TRAINED
from mocoop.report.content import Section, figure_block, fold_all_but_first
from mocoop.report.runs import Runs
from mocoop.results.figures.style import curve_names, in_method_order
from mocoop.results.figures.training import training_figure
from mocoop.results.history import FILE_NAME, read_history

ABOUT = (
    "What happened at each training step. The losses of different methods are made of different parts; the "
    "cross-entropy is the one they share."
)
FIGURE_ABOUT = (
    "Loss, accuracy on the training batches and learning rate. Thin lines are seeds, the strong line is their mean; "
    "losses and accuracy are smoothed as the axis says."
)


def training_section(runs: Runs) -> Section | None:
    """The training of the main runs, of the most shots, of the first protocol that has histories; None without."""
    for part in runs.protocols:
        trained = part.main[part.main["phase"].isin(TRAINED) & part.main["folder"].notna()]
        left = [(Path(folder) / FILE_NAME).is_file() for folder in trained["folder"]]
        trained = trained[left]
        if len(trained):
            break
    else:
        return None
    trained = trained[trained["shots"] == trained["shots"].max()]
    titled = []
    for dataset, of_dataset in trained.groupby("dataset"):
        title = f"Training on {dataset}"
        block = figure_block(title, FIGURE_ABOUT, lambda runs=of_dataset: training_figure(_histories(runs)))
        titled.append((title, block))
    return Section("training", "Training", ABOUT, fold_all_but_first(titled)) if titled else None


def _histories(runs: pd.DataFrame) -> dict:
    curves = in_method_order(runs[["method", "cfg"]].itertuples(index=False, name=None))
    names = dict(zip(curves, curve_names(curves)))
    histories: dict = {name: {} for name in names.values()}
    for run in runs.itertuples():
        histories[names[run.method, run.cfg]][run.seed] = read_history(Path(run.folder) / FILE_NAME)
    return histories
