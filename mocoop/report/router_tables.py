"""Tables that judge a router: what others would reach with the same experts, and which experts carry the load."""

import pandas as pd

from mocoop.report.content import TableBlock, Text, fold_all_but_first
from mocoop.results.record import ROUTERS
from mocoop.results.tables import PHASE_NAMES, SPREADS, Cell, Table

HEADS = dict(zip(ROUTERS, ("Own router", "All, equally", "Random", "Best expert", "True style", "Any right")))
ABOUT = (
    "Accuracy with the experts of the same run under other ways of choosing them; nothing is trained again. All, "
    "equally: every expert answers. Random: as many as the router takes, drawn at random. Best expert: the one that "
    "is best on these images, for all of them. True style: the expert named like the image's style. Any right: at "
    "least one expert alone is right, which no router can exceed by choosing one. Agreement: how many of the chosen "
    "experts are those whose hand-written prompts are most similar to the image."
)
LOAD_ABOUT = "Each expert's part of all gate weights, in percent; by equal use all would have the same."
MISSING = (
    "How other routers would do is not shown: the runs were tested by an earlier version, and can be tested again, or "
    "their experts encode images themselves, and only those that chose them."
)


def router_blocks(runs: pd.DataFrame, seeds: list[int]) -> list:
    """Both tables, of runs of one method that route (rows of `collect`); what lacks one of the seeds is a gap."""
    judged = runs[["routers" in routing for routing in runs["routing"]]]
    if judged.empty:
        return [Text(MISSING)]
    return [TableBlock(_routers(judged, len(seeds)), ABOUT), *_loads(judged, len(seeds))]


def _routers(runs: pd.DataFrame, seeds: int) -> Table:
    rows = []
    for (dataset, phase), part in runs.groupby(["dataset", "phase"], sort=False):
        found = [routing["routers"] for routing in part["routing"]]
        values = [*([one["accuracy"][name] for one in found] for name in HEADS), [one["agreement"] for one in found]]
        rows.append([dataset, PHASE_NAMES.get(phase, phase), *(_cell(of_seeds, seeds) for of_seeds in values)])
    columns = ["Dataset", "Images", *HEADS.values(), "Agreement"]
    return Table("The router beside others", columns, rows, [SPREADS["std"]])


def _loads(runs: pd.DataFrame, seeds: int) -> list:
    titled = []
    for dataset, part in runs.groupby("dataset", sort=False):
        phases = [(PHASE_NAMES.get(phase, phase), of_phase) for phase, of_phase in part.groupby("phase", sort=False)]
        names = part.iloc[0]["routing"]["groups"]
        loads = [[routing["routers"]["load"] for routing in of_phase["routing"]] for _, of_phase in phases]
        rows = [[name, *(_cell([load[e] for load in found], seeds) for found in loads)] for e, name in enumerate(names)]
        title = f"Load of the experts: {dataset}"
        table = Table(title, ["Expert", *(name for name, _ in phases)], rows, [SPREADS["std"]])
        titled.append((title, TableBlock(table, LOAD_ABOUT)))
    return fold_all_but_first(titled)


def _cell(values: list[float | None], seeds: int) -> Cell:
    values = pd.Series(values, dtype=float).reindex(range(seeds))
    return Cell(values.mean(skipna=False), values.std(skipna=False))
