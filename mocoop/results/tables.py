"""What stands in each table: rows of labels and cells. How a table is printed is the business of `render`.

Functions that build one take the runs, the seeds that are expected (default: all that occur), and how the spread over
seeds is given: a key of SPREADS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mocoop.protocol import TRAINED
from mocoop.registry import listed
from mocoop.results.aggregate import (
    AVERAGE,
    ENTRY,
    SOURCE_MARK,
    base_to_new,
    interval,
    mixed_settings,
    over_seeds,
    rank,
    seed_matrix,
    transfer,
)
from mocoop.results.agreement import Marks
from mocoop.results.collect import ALL_SHOTS, KNOWLEDGE
from mocoop.results.routing import chance_in_top_k

BASE_NEW_COLUMNS = {"base": "Base", "new": "New", "h": "H"}
PHASE_NAMES = {"train_base": "base classes", "test_new": "new classes", "test_all": "base and new classes"}
SPREADS = {
    "std": "Mean ± sample standard deviation over seeds, in percent.",
    "ci95": "Mean ± half the 95 % confidence interval over seeds (Student's t), in percent.",
}
H_NOTE = "H is the harmonic mean of the mean base and the mean new accuracy. Bold: highest mean of its block."
ROUTING_NOTE = "How often the expert of an image's true style is among the router's top-k; by chance in {chance} %."


@dataclass(frozen=True)
class Cell:
    """A mean in percent with its spread over seeds; NaN for what is not there.

    spread: None for a number that has none, such as one from a paper. rank: 1 best, 2 second, else 0. signed: the
    number is a difference.
    """

    mean: float
    spread: float | None = float("nan")
    rank: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """rows: a list of labels (str) and Cells for each; a row of None separates blocks. spread: which one cells have."""

    title: str
    columns: list[str]
    rows: Sequence[list | None]
    notes: list[str] = field(default_factory=list)
    spread: str = "std"

    @property
    def has_second(self) -> bool:
        """Whether a cell is marked as the second best."""
        return any(isinstance(item, Cell) and item.rank == 2 for row in filter(None, self.rows) for item in row)


def base_new_table(
    runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std", title: str = "Base to new classes"
) -> Table:
    """Base, new and H of each dataset and of their average, for runs of protocol base2new or base2new_all."""
    summary = base_to_new(runs, seeds)
    name, marks = _marked_namer(summary, runs)
    rows: list[list | None] = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        columns = [cells(block, column, f"{column}_std", spread, marks) for column in BASE_NEW_COLUMNS]
        names = [name(index[1:], dataset) for index in block.index]
        rows += [None] if rows else []
        rows += [[dataset, *row] for row in zip(names, *columns)]
    notes = _notes(runs, f"{SPREADS[spread]} {H_NOTE}", base_new_gaps(summary), marks)
    return Table(title, ["Dataset", "Method", *BASE_NEW_COLUMNS.values()], rows, notes, spread)


def ablation_table(runs: pd.DataFrame, labels: dict, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """One row per cfg of `labels` ({cfg: name}): H of each dataset, then base, new and H of their average."""
    summary = base_to_new(runs[runs["cfg"].isin(labels)], seeds).droplevel(["method", "shots"])
    datasets = [dataset for dataset in summary.index.unique("dataset") if dataset != AVERAGE]
    wanted = [(dataset, "h") for dataset in datasets] if len(datasets) > 1 else []
    wanted += [(AVERAGE if wanted else datasets[0], column) for column in BASE_NEW_COLUMNS]
    order = [cfg for cfg in labels if cfg in summary.index.unique("cfg")]
    columns = [cells(summary.loc[dataset].loc[order], column, f"{column}_std", spread) for dataset, column in wanted]
    rows = [[labels[cfg], *row] for cfg, *row in zip(order, *columns)]
    heads = [f"{BASE_NEW_COLUMNS[column]}, {dataset}" for dataset, column in wanted]
    notes = [f"{SPREADS[spread]} Bold: highest mean of its column."]
    return Table("Ablations", ["Variant", *heads], rows, notes, spread)


def routing_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """How often the expert named like an image's style is in the router's top-k, in runs of protocol base2new."""
    runs = runs[runs["domain_in_top_k"].notna()]
    matrices = {
        PHASE_NAMES[phase]: seed_matrix(runs[runs["phase"] == phase], seeds, "domain_in_top_k", like=runs)
        for phase in PHASE_NAMES
        if (runs["phase"] == phase).any()
    }
    summary = pd.concat({phase: over_seeds(matrix) for phase, matrix in matrices.items()}, names=["phase"])
    name, entries = entry_namer(summary), summary.index.droplevel(["phase", "dataset"]).unique()
    rows = [
        [dataset, phase, *unranked(summary.loc[[(phase, dataset, *entry) for entry in entries]], spread)]
        for dataset in summary.index.unique("dataset")
        for phase in matrices
    ]
    chance = " or ".join(sorted({f"{chance_in_top_k(routing):.1f}" for routing in runs["routing"]}))
    notes = [f"{ROUTING_NOTE.format(chance=chance)} {SPREADS[spread]}"]
    return Table("Routing", ["Dataset", "Images", *(name(entry) for entry in entries)], rows, notes, spread)


def accuracy_table(
    runs: pd.DataFrame, seeds: list[int] | None = None, title: str = "Accuracy", spread: str = "std"
) -> Table:
    """Accuracy of every dataset of one phase, a row per method, and the average over the datasets."""
    return _columns_of_datasets(over_seeds(seed_matrix(runs, seeds)), runs, title, spread)


def transfer_table(
    runs: pd.DataFrame, seeds: list[int] | None = None, title: str = "Transfer", spread: str = "std"
) -> Table:
    """Accuracy on the dataset of training (phase train), on every other one (phase test), and the others' average."""
    unseen = "lacking" if (runs["protocol"] == "xd").any() else ""
    return _columns_of_datasets(transfer(runs, seeds), runs, title, spread, unseen)


def few_shot_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """Accuracy by the number of shots: a row per dataset and method, and the average over the datasets."""
    summary = over_seeds(seed_matrix(runs, seeds))
    (name, marks), shots = _marked_namer(summary, runs), sorted(summary.index.unique("shots"))
    rows: list[list | None] = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        learners = block.index.droplevel(["dataset", "shots"]).unique()
        columns = []
        for number in shots:
            part = block[block.index.get_level_values("shots") == number]
            found = dict(zip(part.index.droplevel(["dataset", "shots"]), cells(part, "mean", "std", spread, marks)))
            columns.append([found.get(learner, Cell(float("nan"))) for learner in learners])
        rows += [None] if rows else []
        rows += [[dataset, *row] for row in zip([name((*learner, None), dataset) for learner in learners], *columns)]
    notes = _notes(runs, f"{SPREADS[spread]} Bold: highest mean of its block.", gaps(summary), marks)
    return Table("Few-shot", ["Dataset", "Method", *map(shots_name, shots)], rows, notes, spread)


def _columns_of_datasets(summary: pd.DataFrame, runs: pd.DataFrame, title: str, spread: str, unseen: str = "") -> Table:
    name, marks = _marked_namer(summary, runs)
    blocks = dict(list(summary.groupby(level="dataset", sort=False)))
    columns = [cells(block, "mean", "std", spread, marks) for block in blocks.values()]
    names = [name(index[1:]) for index in next(iter(blocks.values())).index]
    notes = _notes(runs, f"{SPREADS[spread]} Bold: highest mean of its column.", gaps(summary, None, unseen), marks)
    return Table(title, ["Method", *blocks], [list(row) for row in zip(names, *columns)], notes, spread)


def _notes(runs: pd.DataFrame, first: str, gaps: list[str], marks: Marks) -> list[str]:
    return [first, *marks.lines(), *gaps, *too_few_notes(runs), *mixed_settings(runs), *knowledge_notes(runs)]


def _marked_namer(summary: pd.DataFrame, runs: pd.DataFrame) -> tuple[Callable[..., str], Marks]:
    """A function from (method, cfg, shots), and the row's dataset, to a name with its mark; and the marks."""
    name = entry_namer(summary)
    marks = Marks(runs, name)
    return lambda entry, dataset=None: name(entry) + marks.of(entry, _of_all(dataset)), marks


def _of_all(dataset: str | None) -> str | None:
    """None for the average."""
    return None if dataset == AVERAGE else dataset


def cells(block: pd.DataFrame, mean: str, std: str, spread: str, marks: Marks | None = None) -> list[Cell]:
    """Cells of one column of a summary, with its best and second best marked; equal means share a rank.

    What may not be ranked among the others by its marks is not.
    """
    widths = block[std] if spread == "std" else interval(block[std], block["seeds"])
    apart = [
        marks is not None and marks.unpaired(entry, _of_all(dataset.removesuffix(SOURCE_MARK)))
        for dataset, *entry in block.index
    ]
    rows = zip(block[mean], widths, best_two(block[mean].mask(apart)))
    return [Cell(float(mean), float(width), rank) for mean, width, rank in rows]


def best_two(means: pd.Series) -> list[int]:
    """1 for the best and 2 for the second best of several, as they are printed, else 0."""
    ranks = means.round(2).rank(ascending=False, method="min")
    return [int(rank) if len(means) > 1 and rank <= 2 else 0 for rank in ranks.fillna(len(means) + 2)]


def unranked(block: pd.DataFrame, spread: str) -> list[Cell]:
    """Cells of rows of `over_seeds`, none of them marked."""
    return [Cell(cell.mean, cell.spread) for cell in cells(block, "mean", "std", spread)]


def entry_namer(summary: pd.DataFrame, labels: dict | None = None) -> Callable[[tuple], str]:
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
        return f"{method}{cfg_part}" + (f", {shots_name(shots)}" if several_shots and shots else "")

    return name


def shots_name(shots: int) -> str:
    return "all images" if shots == ALL_SHOTS else "1 shot" if shots == 1 else f"{shots} shots"


def too_few_notes(runs: pd.DataFrame) -> list[str]:
    """One line for each data set and number of shots that some class has fewer training images than."""
    found = runs.dropna(subset="train_per_class")
    fewest = np.array([int(text.split()[0]) for text in found["train_per_class"]])  # of "5 to 16"
    short = found[(fewest < found["shots"]) & (found["shots"] != ALL_SHOTS)]
    return [
        f"{dataset}, {shots_name(shots)}: a class had {' or '.join(part.unique())} training images, and all were used"
        for (dataset, shots), part in short.groupby(["dataset", "shots"], sort=False)["train_per_class"]
    ]


def knowledge_notes(runs: pd.DataFrame) -> list[str]:
    """One line for each method whose training used more than images and names of the trained classes: what that is."""
    told = runs[runs["phase"].isin(TRAINED)].dropna(subset=KNOWLEDGE)  # a test on new classes does not know
    told = {entry: part[KNOWLEDGE].unique() for entry, part in told.groupby(["method", "cfg"])}
    several = pd.Series([method for method, _ in told]).duplicated(keep=False)
    return [
        f"{method}{f' {cfg}' if twice else ''} also uses: {' or '.join(told[method, cfg])}"
        for (method, cfg), twice in sorted(zip(told, several), key=lambda item: rank(item[0]))
    ]


def base_new_gaps(summary: pd.DataFrame) -> list[str]:
    """One line for each cell of `base_to_new` that lacks seeds."""
    return gaps(summary, {"base_lacking": "base", "new_lacking": "new"}, unseen="new_lacking")


def gaps(summary: pd.DataFrame, columns: dict[str, str] | None = None, unseen: str = "") -> list[str]:
    """One line for each cell that lacks seeds, and for each method that cannot have one.

    columns: {column that lists them: what they lack}. unseen: the column of tests on classes that were not trained.
    """
    lines, name, columns = [], entry_namer(summary), columns or {"lacking": ""}
    bound: dict[str, list[str]] = {method.name: [] for method in listed().values() if not method.new_classes}
    for index, row in summary.drop(AVERAGE, level="dataset", errors="ignore").iterrows():
        label, wanted = f"{index[0]}, {name(index[1:])}", dict(columns)
        if unseen and index[1] in bound and not index[0].endswith(SOURCE_MARK) and row[unseen]:
            whole = all(len(row[column]) == row["seeds"] for column in columns)  # a test of both has no base result
            wanted = {} if whole else {column: what for column, what in columns.items() if column != unseen}
            bound[index[1]] = [f"{index[1]}: no result on new classes, as it tells only the trained ones apart"]
        if wanted and all(len(row[column]) == row["seeds"] for column in wanted):
            lines.append(f"{label}: no result")
            continue
        for column, phase in wanted.items():
            if row[column]:
                seeds = ", ".join(map(str, row[column]))
                lines.append(f"{label}: no {phase} result for seed {seeds}".replace("  ", " "))
    return lines + [line for of_method in bound.values() for line in of_method]
