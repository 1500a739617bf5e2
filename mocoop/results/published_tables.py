"""Tables with published numbers: beside ours, with the difference, or on their own."""

from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS
from mocoop.registry import listed
from mocoop.results.coop_logs import LOG_MARK
from mocoop.results.published import (
    KNOWLEDGE,
    NOT_AVAILABLE,
    SPLITS,
    TRAINED_ON,
    Entry,
    PublishedNumbers,
    published_method,
)
from mocoop.results.render import NONE, Cell, Table, in_blocks
from mocoop.results.runs import ENTRY
from mocoop.results.stats import AVERAGE, SOURCE_MARK, measured
from mocoop.results.tables import SPREADS, best_two, cells, entry_namer, shots_name

BACKBONE = "ViT-B/16"
H_NOTE = "H is that of the base and the new accuracy beside it, unless its source says otherwise."
RERUN_MARK = "†"


class Footnotes:
    """Numbers the sources of a table in the order in which they are used, and marks reruns."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], str] = {}

    def mark(self, entries: list[Entry | None]) -> str:
        used = dict.fromkeys((entry.source, RERUN_MARK * entry.rerun) for entry in entries if entry)
        return " ".join(self._marks.setdefault(one, f"[{len(self._marks) + 1}]{one[1]}") for one in used)

    def lines(self) -> list[str]:
        reruns = any(rerun for _, rerun in self._marks)
        explained = [f"{RERUN_MARK} A rerun: not measured by the method's authors."] if reruns else []
        return [f"{mark} {source}" for (source, _), mark in self._marks.items()] + explained


def beside_table(
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    protocol: str,
    numbers: PublishedNumbers,
    methods: list[str] | None = None,
    spread: str = "std",
) -> Table:
    """Ours, what is published, its source, and the difference, for the same data set, backbone and shots.

    summary: of `base_to_new` for base2new, else of `over_seeds`; runs: those behind it. methods: the published ones
    that each of ours is set beside; by default (None or empty) its own. Published averages are over the same data sets
    as ours. Raises DataError for a method that no source has.
    """
    chosen = [_known(numbers, method) for method in methods or []]
    columns_of_ours, name, footnotes = measured(protocol), entry_namer(summary), Footnotes()
    backbones, names = runs.groupby(ENTRY)["backbone"].first(), summary.index.unique("dataset")
    averaged = [dataset for dataset in names if dataset != AVERAGE and not dataset.endswith(SOURCE_MARK)]
    blocks: list[list[list]] = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        rows: list[list] = []
        place = (dataset.removesuffix(SOURCE_MARK), averaged)
        ours_by_column = [cells(block, column, spread) for column in columns_of_ours]
        for (_, *entry), *ours in zip(block.index, *ours_by_column):
            for method in chosen or [published_method(entry[0].removesuffix(LOG_MARK))]:
                where, shots = (protocol, method, backbones[tuple(entry)]), entry[2]
                # zero-shot stands beside any number of shots
                found = numbers.find(*where, shots, *place) or numbers.find(*where, 0, *place)
                theirs = [_cell(found, split) for split in SPLITS[protocol]]
                differences = [Cell(own.mean - their.mean, None, signed=True) for own, their in zip(ours, theirs)]
                source = footnotes.mark([found]) or _why_none(numbers, method)
                rows.append([dataset, name(entry), *ours, method, *theirs, *differences, source])
        blocks.append(rows)
    heads = columns_of_ours.values()
    columns = ["Dataset", "Method", *heads, "Published", *(f"{head} (publ.)" for head in heads)]
    columns += [*(f"Δ {head}" for head in heads), "Source"]
    notes = [
        f"{SPREADS[spread]} Δ: ours less the published number, which has no spread.",
        *footnotes.lines(),
        *_closing_notes(protocol, [row[2 + len(heads)] for rows in blocks for row in rows]),
    ]
    return Table("Beside published numbers", columns, in_blocks(blocks), notes, spread)


def published_table(
    protocol: str,
    numbers: PublishedNumbers,
    methods: list[str] | None = None,
    datasets: list[str] | None = None,
    backbone: str = BACKBONE,
) -> Table:
    """The published numbers of a protocol on their own, with averages computed over `datasets` (default: all).

    Raises DataError if there is nothing, or for an unknown method.
    """
    found = numbers.frame[(numbers.frame["protocol"] == protocol) & (numbers.frame["backbone"] == backbone)]
    names = [_known(numbers, method) for method in methods or _in_order(found["method"].unique())]
    chosen, source = numbers.select(protocol, datasets), TRAINED_ON.get(protocol)
    averaged = [dataset for dataset in chosen if dataset != source]
    heads, learners = _layout(protocol, found, list(dict.fromkeys(names)))
    footnotes, blocks = Footnotes(), []
    for dataset in [*chosen, AVERAGE] if len(averaged) > 1 else chosen:
        block: list[list] = []
        for method, label, places in learners:
            entries = [numbers.find(protocol, method, backbone, shots, dataset, averaged) for _, shots in places]
            if any(entries) or dataset == AVERAGE:
                values = [_cell(entry, split) for entry, (split, _) in zip(entries, places)]
                mark = footnotes.mark(entries) or _why_none(numbers, method)
                block.append([dataset + SOURCE_MARK * (dataset == source), label, *values, mark])
        for column in range(2, 2 + len(heads)):
            ranks = best_two(pd.Series([row[column].mean for row in block], dtype=float))
            for row, rank in zip(block, ranks):
                row[column] = replace(row[column], rank=rank)
        blocks.append(block)
    if found.empty or not any(blocks):
        raise DataError(f"got no published number of {protocol} with {backbone}, expected some; see --published-csv")
    notes = ["Averages are computed of the values per data set. Bold: highest of its block."]
    notes += [*footnotes.lines(), *_closing_notes(protocol, names)]
    title = f"Published, {protocol}, {backbone}"
    return Table(title, ["Dataset", "Method", *heads, "Source"], in_blocks(blocks), notes)


def _closing_notes(protocol: str, methods: list[str]) -> list[str]:
    used = [f"{name} also uses: {KNOWLEDGE[name]}" for name in dict.fromkeys(methods) if name in KNOWLEDGE]
    return [*used, *([H_NOTE] if PROTOCOLS[protocol].measure == BASE_NEW else [])]


def _layout(protocol: str, found: pd.DataFrame, methods: list[str]) -> tuple[list[str], list[tuple[str, str, list]]]:
    """The heads of the columns, and (method, label, [(split, shots) of each column]) of each row in a block."""
    shots = {method: sorted(found.loc[found["method"] == method, "shots"].unique()) or [0] for method in methods}
    if PROTOCOLS[protocol].measure == CURVE:
        numbers = sorted(set().union(*shots.values()))
        places = [("all", number) for number in numbers]
        return list(map(shots_name, numbers)), [(method, method, places) for method in methods]
    rows = []
    for method, numbers in shots.items():
        for number in numbers:
            label = f"{method}, {shots_name(number)}" if len(numbers) > 1 else method
            rows.append((method, label, [(split, number) for split in SPLITS[protocol]]))
    return list(measured(protocol).values()), rows


def _in_order(methods: Collection[str]) -> list[str]:
    """Those that we have too in our order, then the others, then what is not available."""
    first = [name for name in map(published_method, listed()) if name not in NOT_AVAILABLE]
    return list(dict.fromkeys([*(name for name in first if name in methods), *methods, *NOT_AVAILABLE]))


def _known(numbers: PublishedNumbers, method: str) -> str:
    name = published_method(method)
    if not numbers.knows(name) and name not in NOT_AVAILABLE:
        known = ", ".join(numbers.frame["method"].unique())
        raise DataError(f"got published method {method!r}, expected one of {known}")
    return name


def _why_none(numbers: PublishedNumbers, method: str) -> str:
    return "none that matches" if numbers.knows(method) else NOT_AVAILABLE.get(method, "none")


def _cell(entry: Entry | None, split: str) -> Cell:
    return Cell(entry.values.get(split, NONE.mean) if entry else NONE.mean, None)
