"""The runs of a protocol among others, their summary, and the tables that it ends in."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS, TRANSFER
from mocoop.registry import listed
from mocoop.results.aggregate import AVERAGE, ENTRY, base_to_new, join_cfgs, over_seeds, seed_matrix, transfer
from mocoop.results.agreement import apart
from mocoop.results.collect import METRICS, ROUTING, WEIGHTS
from mocoop.results.paired import seeds_needed
from mocoop.results.record import FILE_NAME, read_record
from mocoop.results.tables import (
    SPREADS,
    Table,
    accuracy_table,
    base_new_table,
    cells,
    entry_namer,
    few_shot_table,
    gaps,
    routing_table,
    shots_name,
    transfer_table,
)


def runs_of(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The runs of a protocol. Trainings that lie with another protocol are its own if their models were tested.

    So are those of methods that cannot be tested on other classes: what they lack is a gap with a reason.
    """
    runs = frame[(frame["protocol"] + "/" + frame["phase"]).isin([p.folder for p in PROTOCOLS[protocol].phases])]
    own, entries = runs["protocol"] == protocol, pd.MultiIndex.from_frame(runs[ENTRY])
    bound = runs["method"].isin([method.name for method in listed().values() if not method.new_classes])
    return runs[own | entries.isin(entries[own]) | (bound & own.any())]


def without_other_models(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs, those without results that tested another model than lies with their training; a line about each.

    Base and new accuracy, or source and target, are joined for one model alone: where the training was repeated, the
    older test has to be, too. Records that do not say which weights they tested are taken as they are.
    """
    runs, problems = runs.copy(), []
    for phase, training in [(phase, phase.model) for phase in PROTOCOLS[protocol].phases if phase.model]:
        same = [*ENTRY, "seed"] if training.on_source else ["dataset", *ENTRY, "seed"]
        trained = runs[runs["phase"] == training.name].groupby(same)[WEIGHTS].agg(set)
        for row in runs[(runs["phase"] == phase.name) & runs[WEIGHTS].notna()].itertuples():
            models = trained.get(tuple(getattr(row, name) for name in same), set())
            if models and row.weights_sha256 not in models and all(isinstance(model, str) for model in models):
                runs.loc[row.Index, METRICS + ROUTING] = None
                problems.append(f"{row.folder}: tested another model than the one of {training.folder}; test again")
    return runs, problems


def join(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs with configurations joined (`join_cfgs`) where each data set is trained on, and a line about each."""
    return (runs, []) if PROTOCOLS[protocol].measure == TRANSFER else join_cfgs(runs)


def summarise(runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None) -> pd.DataFrame:
    """Mean and deviation over seeds of what the protocol measures, with rows as in `seed_matrix`."""
    measure = PROTOCOLS[protocol].measure
    if measure == CURVE:
        return over_seeds(seed_matrix(runs, seeds))
    return base_to_new(runs, seeds) if measure == BASE_NEW else transfer(runs, seeds)


def protocol_tables(
    runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None, spread: str = "std"
) -> list[Table]:
    """The tables of a protocol, of their own for runs that may not share one (`agreement.apart`).

    Arguments as in `tables`; without `seeds`, each expects those that occur in it.
    """
    parts = [titled(tables_of_part(part, protocol, seeds, spread), what) for what, part in apart(runs)]
    return [table for tables in parts for table in tables]


def titled(tables: list[Table], what: str) -> list[Table]:
    """The tables with what sets their runs apart in their titles, if anything does."""
    return [replace(table, title=f"{table.title}, {what}") for table in tables] if what else tables


def tables_of_part(
    runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None, spread: str = "std"
) -> list[Table]:
    """`protocol_tables` of runs that may share a table; a curve has one of all numbers of shots, and one of each."""
    measure, title = PROTOCOLS[protocol].measure, PROTOCOLS[protocol].title
    seeds = sorted(runs["seed"].unique()) if seeds is None else seeds
    if measure == BASE_NEW:
        routes = runs["domain_in_top_k"].notna().any()
        return [base_new_table(runs, seeds, spread, title), *([routing_table(runs, seeds, spread)] if routes else [])]
    if measure == TRANSFER:
        return [transfer_table(runs, seeds, title, spread)]
    shots = list(runs.groupby("shots"))
    singles = [accuracy_table(part, seeds, f"Few-shot, {shots_name(number)}", spread) for number, part in shots]
    return [few_shot_table(runs, seeds, spread), *(singles if len(singles) > 1 else [])]


def per_class_tables(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> list[Table]:
    """A row per class in label order, a column per method. Raises DataError if no run says its classes.

    runs: of `collect`; those without a result.json are left out.
    """
    recorded = runs[[isinstance(folder, str) and (Path(folder) / FILE_NAME).exists() for folder in runs["folder"]]]
    if recorded.empty:
        raise DataError(f"got no run with a {FILE_NAME}, expected one; a log.txt does not say its classes")
    seeds = sorted(runs["seed"].unique()) if seeds is None else seeds
    parts = recorded.groupby(["phase", "dataset"], sort=False)
    return [_per_class_table(f"{dataset}, {phase}, per class", part, seeds, spread) for (phase, dataset), part in parts]


def _per_class_table(title: str, runs: pd.DataFrame, seeds: list[int], spread: str) -> Table:
    classes = pd.DataFrame([row for run in runs.to_dict("records") for row in _rows_of_classes(run)])
    summary = over_seeds(seed_matrix(classes, seeds, averaged=[]))
    images = classes.groupby("dataset")["total"].max()
    name, rows = entry_namer(summary), []
    for key, block in summary.groupby(level="dataset", sort=False):
        rows.append([key.partition(" ")[2], str(images[key]), *cells(block, "mean", "std", spread)])
    names = [name(index[1:]) for index in block.index]
    notes = [f"{SPREADS[spread]} Bold: highest mean of its row.", *gaps(over_seeds(seed_matrix(runs, seeds)))]
    return Table(title, ["Class", "Images", *names], rows, notes, spread)


def _rows_of_classes(run: dict) -> list[dict]:
    """A row for each class of the run; what sets it apart, its label and name, stands in place of the data set."""
    rows = read_record(Path(run["folder"]) / FILE_NAME)["per_class"]
    return [run | {"dataset": f"{row['label']:06d} {row['classname']}", **row} for row in rows]


SEEDS_NOTE = (
    "Seeds of each of two methods that differ by one point, so that a paired t test over seeds sees it in 80 % of the "
    "cases (5 %, two-sided). In brackets: the deviation over seeds, of all methods that learn taken together. The test "
    "images are taken as they are."
)


def seeds_table(runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None) -> Table | None:
    """How many seeds a difference of one point needs, a row per dataset; None where no method has several seeds."""
    summary = summarise(runs, protocol, seeds).drop(AVERAGE, level="dataset", errors="ignore")
    summary = summary[summary.index.get_level_values("shots") != 0]
    names = {"Base": "base_std", "New": "new_std", "H": "h_std"}
    columns = names if PROTOCOLS[protocol].measure == BASE_NEW else {"Accuracy": "std"}
    deviations = (summary[list(columns.values())] ** 2).groupby(level="dataset", sort=False).mean() ** 0.5
    deviations = deviations.dropna(how="all")
    if deviations.empty:
        return None
    rows = [[dataset, *map(_needed, row)] for dataset, row in zip(deviations.index, deviations.to_numpy())]
    return Table("Seeds for one point", ["Dataset", *columns], rows, [SEEDS_NOTE])


def _needed(deviation: float) -> str:
    if pd.isna(deviation):
        return "–"
    seeds = seeds_needed(deviation)
    return f"{seeds or 'over 1000'} ({deviation:.2f})"
