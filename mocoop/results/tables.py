"""What stands in each table: rows of labels and cells. How a table is printed is the business of `render`."""

from dataclasses import dataclass, field

import pandas as pd

from mocoop.results.aggregate import AVERAGE, ENTRY, base_to_new, mixed_settings, over_seeds, seed_matrix
from mocoop.results.routing import chance_in_top_k

BASE_NEW_COLUMNS = {"base": "Base", "new": "New", "h": "H"}
PHASE_NAMES = {"train_base": "base classes", "test_new": "new classes"}
SPREAD_NOTE = "Mean ± sample standard deviation over seeds, in percent."
H_NOTE = "H is the harmonic mean of the mean base and the mean new accuracy. Bold: highest mean of its block."
ROUTING_NOTE = "How often the expert of an image's true style is among the router's top-k; by chance in {chance} %."


@dataclass(frozen=True)
class Cell:
    """A mean in percent with its deviation over seeds; NaN for what is not there. rank: 1 best, 2 second, else 0."""

    mean: float
    std: float = float("nan")
    rank: int = 0


@dataclass(frozen=True)
class Table:
    """rows: a list of labels (str) and Cells for each; a row of None separates blocks."""

    title: str
    columns: list[str]
    rows: list[list | None]
    notes: list[str] = field(default_factory=list)


def base_new_table(runs: pd.DataFrame, seeds: list[int] | None = None) -> Table:
    """Base, new and H of each dataset and of their average, for runs of protocol base2new."""
    summary = base_to_new(runs, seeds)
    name = entry_namer(summary)
    rows = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        columns = [_cells(block[column], block[f"{column}_std"]) for column in BASE_NEW_COLUMNS]
        names = [name(index[1:]) for index in block.index]
        rows += [None] if rows else []
        rows += [[dataset, *row] for row in zip(names, *columns)]
    notes = [
        f"{SPREAD_NOTE} {H_NOTE}",
        *_gaps(summary, {"base_lacking": "base", "new_lacking": "new"}, name),
        *mixed_settings(runs),
    ]
    return Table("Base to new", ["Dataset", "Method", *BASE_NEW_COLUMNS.values()], rows, notes)


def ablation_table(runs: pd.DataFrame, labels: dict, seeds: list[int] | None = None) -> Table:
    """One row per cfg of `labels` ({cfg: name}): H of each dataset, then base, new and H of their average."""
    summary = base_to_new(runs[runs["cfg"].isin(labels)], seeds).droplevel(["method", "shots"])
    datasets = [dataset for dataset in summary.index.unique("dataset") if dataset != AVERAGE]
    wanted = [(dataset, "h") for dataset in datasets] if len(datasets) > 1 else []
    wanted += [(AVERAGE if wanted else datasets[0], column) for column in BASE_NEW_COLUMNS]
    order = [cfg for cfg in labels if cfg in summary.index.unique("cfg")]
    columns = []
    for dataset, column in wanted:
        block = summary.loc[dataset].loc[order]
        columns.append(_cells(block[column], block[f"{column}_std"]))
    rows = [[labels[cfg], *cells] for cfg, *cells in zip(order, *columns)]
    heads = [f"{BASE_NEW_COLUMNS[column]}, {dataset}" for dataset, column in wanted]
    return Table("Ablations", ["Variant", *heads], rows, [f"{SPREAD_NOTE} Bold: highest mean of its column."])


def routing_table(runs: pd.DataFrame, seeds: list[int] | None = None) -> Table:
    """How often the expert named like an image's style is in the router's top-k, in runs of protocol base2new."""
    runs = runs[runs["domain_in_top_k"].notna()]
    matrices = {
        PHASE_NAMES[phase]: seed_matrix(runs[runs["phase"] == phase], seeds, "domain_in_top_k", like=runs)
        for phase in PHASE_NAMES
        if (runs["phase"] == phase).any()
    }
    summary = pd.concat({phase: over_seeds(matrix) for phase, matrix in matrices.items()}, names=["phase"])
    entries = summary.index.droplevel(["phase", "dataset"]).unique()
    name = entry_namer(summary)
    rows = [
        [dataset, phase, *(Cell(*summary.loc[(phase, dataset, *entry), ["mean", "std"]]) for entry in entries)]
        for dataset in summary.index.unique("dataset")
        for phase in matrices
    ]
    chance = " or ".join(sorted({f"{chance_in_top_k(routing):.1f}" for routing in runs["routing"]}))
    notes = [f"{ROUTING_NOTE.format(chance=chance)} {SPREAD_NOTE}"]
    return Table("Routing", ["Dataset", "Images", *(name(entry) for entry in entries)], rows, notes)


def accuracy_table(runs: pd.DataFrame, seeds: list[int] | None = None, title: str = "Accuracy") -> Table:
    """Accuracy of every dataset of one phase, a row per method, and the average over the datasets."""
    summary = over_seeds(seed_matrix(runs, seeds))
    name = entry_namer(summary)
    blocks = dict(list(summary.groupby(level="dataset", sort=False)))
    columns = [_cells(block["mean"], block["std"]) for block in blocks.values()]
    names = [name(index[1:]) for index in next(iter(blocks.values())).index]
    notes = [
        f"{SPREAD_NOTE} Bold: highest mean of its column.",
        *_gaps(summary, {"lacking": ""}, name),
        *mixed_settings(runs),
    ]
    return Table(title, ["Method", *blocks], [list(row) for row in zip(names, *columns)], notes)


def _cells(means: pd.Series, stds: pd.Series) -> list[Cell]:
    """Cells of one column, with its best and second best marked; equal means share a rank."""
    ranks = means.round(2).rank(ascending=False, method="min")
    return [
        Cell(mean, std, int(rank) if len(means) > 1 and rank <= 2 else 0) for mean, std, rank in zip(means, stds, ranks)
    ]


def entry_namer(summary: pd.DataFrame, labels: dict | None = None):
    """A function from (method, cfg, shots) to the shortest name that tells the entries of the summary apart.

    labels: {cfg: name} for configurations that are called by a name of their own.
    """
    entries = summary.index.to_frame(index=False)[ENTRY].drop_duplicates()
    several_cfgs = entries.groupby("method")["cfg"].nunique() > 1
    several_shots = entries.loc[entries["shots"] > 0, "shots"].nunique() > 1

    def name(entry: tuple) -> str:
        method, cfg, shots = entry
        if labels and cfg in labels:
            return labels[cfg]
        cfg_part = f" {cfg}" if several_cfgs[method] else ""
        return f"{method}{cfg_part}" + (f", {shots} shots" if several_shots and shots > 0 else "")

    return name


def _gaps(summary: pd.DataFrame, columns: dict[str, str], name) -> list[str]:
    """One line for each cell that lacks seeds."""
    lines = []
    for index, row in summary.iterrows():
        for column, phase in columns.items():
            if row[column] and index[0] != AVERAGE:
                seeds = ", ".join(map(str, row[column]))
                lines.append(f"{index[0]}, {name(index[1:])}: no {phase} result for seed {seeds}".replace("  ", " "))
    return lines
