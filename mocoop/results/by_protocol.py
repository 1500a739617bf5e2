"""The runs of a protocol among others, their summary, and the tables it ends in."""

from dataclasses import replace

import pandas as pd

from mocoop.catalog import listed
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS, TRANSFER
from mocoop.results.aggregate import ENTRY, base_to_new, join_cfgs, over_seeds, seed_matrix, transfer
from mocoop.results.agreement import apart
from mocoop.results.collect import METRICS, ROUTING, WEIGHTS
from mocoop.results.tables import (
    Table,
    accuracy_table,
    base_new_table,
    few_shot_table,
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
    for phase in (phase for phase in PROTOCOLS[protocol].phases if phase.model):
        same = [*ENTRY, "seed"] if phase.model.on_source else ["dataset", *ENTRY, "seed"]
        trained = runs[runs["phase"] == phase.model.name].groupby(same)[WEIGHTS].agg(set)
        for row in runs[(runs["phase"] == phase.name) & runs[WEIGHTS].notna()].itertuples():
            models = trained.get(tuple(getattr(row, name) for name in same), set())
            if models and row.weights_sha256 not in models and all(isinstance(model, str) for model in models):
                runs.loc[row.Index, METRICS + ROUTING] = None
                problems.append(f"{row.folder}: tested another model than the one of {phase.model.folder}; test again")
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
