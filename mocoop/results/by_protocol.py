"""What each protocol consists of: its runs, their summary, and the tables it ends in."""

import pandas as pd

from mocoop.results.aggregate import ENTRY, base_to_new, join_cfgs, over_seeds, seed_matrix, transfer
from mocoop.results.tables import (
    Table,
    accuracy_table,
    base_new_table,
    few_shot_table,
    routing_table,
    shots_name,
    transfer_table,
)

PHASES = {  # protocol: the folders <protocol>/<phase> of its runs
    "base2new": ("base2new/train_base", "base2new/test_new"),
    "few_shot": ("few_shot/train_all",),
    "xd": ("xd/train", "xd/test"),
    "dg": ("xd/train", "dg/test"),
}
ALIASES = {"cross_dataset": "xd", "domain_generalization": "dg"}
TITLES = {"xd": "Cross-dataset transfer", "dg": "Domain generalization"}


def runs_of(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The runs of a protocol. Those of dg include the trainings, kept with xd, of what was tested."""
    runs = frame[(frame["protocol"] + "/" + frame["phase"]).isin(PHASES[protocol])]
    if protocol != "dg":
        return runs
    entries = pd.MultiIndex.from_frame(runs[ENTRY])
    tested = entries.isin(entries[runs["phase"] == "test"])
    return runs[tested]


def join(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs with configurations joined (`join_cfgs`) where each data set is trained on, and a line about each."""
    return (runs, []) if protocol in TITLES else join_cfgs(runs)


def summarise(runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None) -> pd.DataFrame:
    """Mean and deviation over seeds of what the protocol measures, with rows as in `seed_matrix`."""
    if protocol == "base2new":
        return base_to_new(runs, seeds)
    return transfer(runs, seeds) if protocol in TITLES else over_seeds(seed_matrix(runs, seeds))


def protocol_tables(
    runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None, spread: str = "std"
) -> list[Table]:
    """The tables of a protocol; few_shot has one of all numbers of shots, and one of each. Arguments as in `tables`."""
    if protocol == "base2new":
        routes = runs["domain_in_top_k"].notna().any()
        return [base_new_table(runs, seeds, spread), *([routing_table(runs, seeds, spread)] if routes else [])]
    if protocol in TITLES:
        return [transfer_table(runs, seeds, TITLES[protocol], spread)]
    shots = list(runs.groupby("shots"))
    singles = [accuracy_table(part, seeds, f"Few-shot, {shots_name(number)}", spread) for number, part in shots]
    return [few_shot_table(runs, seeds, spread), *(singles if len(singles) > 1 else [])]
