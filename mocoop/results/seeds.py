"""How many seeds a difference needs to be seen, by how much results move with the seed."""

import pandas as pd

from mocoop.protocol import BASE_NEW, PROTOCOLS
from mocoop.results.aggregate import AVERAGE
from mocoop.results.by_protocol import summarise
from mocoop.results.paired import seeds_needed
from mocoop.results.tables import Table

NOTE = (
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
    return Table("Seeds for one point", ["Dataset", *columns], rows, [NOTE])


def _needed(deviation: float) -> str:
    if pd.isna(deviation):
        return "–"
    seeds = seeds_needed(deviation)
    return f"{seeds or 'over 1000'} ({deviation:.2f})"
