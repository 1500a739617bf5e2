"""Tables with published numbers: beside ours, with the difference, or on their own."""

import math
from collections.abc import Callable, Collection

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, CURVE, PROTOCOLS
from mocoop.registry import listed
from mocoop.results import published
from mocoop.results.coop_logs import LOG_MARK
from mocoop.results.published import KNOWLEDGE, Entry, PublishedNumbers, published_method
from mocoop.results.render import Cell, Table
from mocoop.results.runs import ENTRY
from mocoop.results.stats import AVERAGE, SOURCE_MARK, measured, std_of
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
    columns_of_ours, splits = measured(protocol), published.SPLITS[protocol]
    name, find = entry_namer(summary), _finder(summary, runs, protocol, numbers)
    footnotes = Footnotes()
    rows: list[list | None] = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        rows += [None] if rows else []
        ours_by_entry = zip(*(cells(block, column, std_of(column), spread) for column in columns_of_ours))
        for (_, *entry), ours in zip(block.index, ours_by_entry):
            for method in chosen or [published_method(entry[0].removesuffix(LOG_MARK))]:
                found = find(dataset, tuple(entry), method)
                theirs = [_cell(found, split) for split in splits]
                source = footnotes.mark([found]) or _why_none(numbers, method)
                rows.append([dataset, name(entry), *ours, method, *theirs, *map(_difference, ours, theirs), source])
    heads = columns_of_ours.values()
    columns = ["Dataset", "Method", *heads, "Published", *(f"{head} (publ.)" for head in heads)]
    columns += [*(f"Δ {head}" for head in heads), "Source"]
    notes = [
        f"{SPREADS[spread]} Δ: ours less the published number, which has no spread.",
        *footnotes.lines(),
        *_closing_notes(protocol, [row[2 + len(splits)] for row in filter(None, rows)]),
    ]
    return Table("Beside published numbers", columns, rows, notes, spread)


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
    chosen = numbers.select(protocol, datasets)
    averaged = [dataset for dataset in chosen if dataset != published.TRAINED_ON.get(protocol)]
    learners, columns = _layout(protocol, found, list(dict.fromkeys(names)))
    footnotes = Footnotes()
    rows: list[list | None] = []
    for dataset in [*chosen, AVERAGE] if len(averaged) > 1 else chosen:
        block = []
        for method, label, shots in learners:
            by_column = [number if shots is None else shots for _, _, number in columns]
            entries = [_find(numbers, protocol, method, backbone, each, dataset, averaged) for each in by_column]
            if any(entries) or dataset == AVERAGE:
                block.append((method, label, entries))
        rows += [None] if rows and block else []
        rows += _published_rows(_label(protocol, dataset), block, columns, footnotes, numbers)
    if found.empty or not rows:
        raise DataError(f"got no published number of {protocol} with {backbone}, expected some; see --published-csv")
    notes = ["Averages are computed of the values per data set. Bold: highest of its block."]
    notes += [*footnotes.lines(), *_closing_notes(protocol, names)]
    return Table(
        f"Published, {protocol}, {backbone}",
        ["Dataset", "Method", *(head for head, *_ in columns), "Source"],
        rows,
        notes,
    )


def _closing_notes(protocol: str, methods: list[str]) -> list[str]:
    used = [f"{name} also uses: {KNOWLEDGE[name]}" for name in dict.fromkeys(methods) if name in KNOWLEDGE]
    return [*used, *([H_NOTE] if PROTOCOLS[protocol].measure == BASE_NEW else [])]


def _layout(protocol: str, found: pd.DataFrame, methods: list[str]) -> tuple[list, list]:
    """(method, label, shots) of each row in a block, and (head, split, shots) of each column; shots are in one only."""
    shots = {method: sorted(found.loc[found["method"] == method, "shots"].unique()) or [0] for method in methods}
    if PROTOCOLS[protocol].measure == CURVE:
        numbers = sorted(set().union(*shots.values()))
        columns = [(shots_name(number), "all", number) for number in numbers]
        return [(method, method, None) for method in methods], columns
    learners = [
        (method, f"{method}, {shots_name(number)}" if len(shots[method]) > 1 else method, number)
        for method in methods
        for number in shots[method]
    ]
    return learners, [
        (head, split, None) for head, split in zip(measured(protocol).values(), published.SPLITS[protocol])
    ]


def _published_rows(dataset: str, block: list, columns: list, footnotes: Footnotes, numbers: PublishedNumbers) -> list:
    by_column = []
    for place, (_, split, _) in enumerate(columns):
        found = [_cell(entries[place], split) for _, _, entries in block]
        ranks = best_two(pd.Series([cell.mean for cell in found], dtype=float))
        by_column.append([Cell(cell.mean, None, rank) for cell, rank in zip(found, ranks)])
    sources = [footnotes.mark(entries) or _why_none(numbers, method) for method, _, entries in block]
    labels = [label for _, label, _ in block]
    return [[dataset, label, *row, source] for label, source, *row in zip(labels, sources, *by_column)]


def _finder(
    summary: pd.DataFrame, runs: pd.DataFrame, protocol: str, numbers: PublishedNumbers
) -> Callable[[str, tuple, str], Entry | None]:
    """A function from (dataset, entry of ours, published method) to what is published of it, or None."""
    backbones = runs.groupby(ENTRY)["backbone"].first()
    names = summary.index.unique("dataset")
    averaged = [name for name in names if name != AVERAGE and not name.endswith(SOURCE_MARK)]

    def find(dataset: str, entry: tuple, method: str) -> Entry | None:
        for shots in dict.fromkeys([entry[2], 0]):  # zero-shot stands beside any number of shots
            name = dataset.removesuffix(SOURCE_MARK)
            if found := _find(numbers, protocol, method, backbones[entry], shots, name, averaged):
                return found
        return None

    return find


def _find(
    numbers: PublishedNumbers,
    protocol: str,
    method: str,
    backbone: str,
    shots: int,
    dataset: str,
    averaged: list[str],
) -> Entry | None:
    """What is published of a dataset, or, as AVERAGE, of the `averaged` ones."""
    if dataset == AVERAGE:
        return numbers.average(protocol, method, backbone, shots, averaged)
    return numbers.entry(protocol, method, backbone, shots, dataset)


def _in_order(methods: Collection[str]) -> list[str]:
    """Those that we have too in our order, then the others, then what is not available."""
    first = [name for name in map(published_method, listed()) if name not in published.NOT_AVAILABLE]
    return list(dict.fromkeys([*(name for name in first if name in methods), *methods, *published.NOT_AVAILABLE]))


def _known(numbers: PublishedNumbers, method: str) -> str:
    name = published_method(method)
    if not numbers.knows(name) and name not in published.NOT_AVAILABLE:
        known = ", ".join(numbers.frame["method"].unique())
        raise DataError(f"got published method {method!r}, expected one of {known}")
    return name


def _why_none(numbers: PublishedNumbers, method: str) -> str:
    return "none that matches" if numbers.knows(method) else published.NOT_AVAILABLE.get(method, "none")


def _label(protocol: str, dataset: str) -> str:
    return dataset + SOURCE_MARK if dataset == published.TRAINED_ON.get(protocol) else dataset


def _cell(entry: Entry | None, split: str) -> Cell:
    return Cell(entry.values.get(split, math.nan) if entry else math.nan, None)


def _difference(ours: Cell, theirs: Cell) -> Cell:
    return Cell(ours.mean - theirs.mean, None, signed=True)
