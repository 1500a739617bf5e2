"""The sections of a report on results: tables and figures of each protocol, the training, how the runs were made."""

import contextlib
import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mocoop.config import leaves
from mocoop.errors import DataError, MocoopError
from mocoop.protocol import BASE_NEW, PROTOCOLS, TRAINED, TRANSFER
from mocoop.report import content
from mocoop.report.content import Block, Folded, Listing, ProtocolRuns, Runs, Section, TableBlock
from mocoop.results.compare import NOT_TOLD_APART, compare, p_text
from mocoop.results.csv_files import HISTORY, read_history
from mocoop.results.figures.by_protocol import drawings
from mocoop.results.figures.style import curve_names, in_method_order, shortened
from mocoop.results.figures.training import training_figure
from mocoop.results.published import load_published
from mocoop.results.published_tables import beside_table
from mocoop.results.record import FILE_NAME, UNHASHED_KEYS, read_record, used_config
from mocoop.results.render import Cell, Table, cell_text
from mocoop.results.runs import ENTRY
from mocoop.results.stats import AVERAGE, measured, std_of, summarise
from mocoop.results.tables import entry_namer, seeds_table, tables_of_part

TRANSFER_ABOUT = "Accuracy in percent on the source and on each target; the average is that of the targets."
BASE_NEW_ABOUT = (
    "Accuracy on base and on new classes and their harmonic mean H, in percent, per dataset and on average. A dash "
    "stands where a seed is missing."
)
TABLES_ABOUT = {  # by the table's title; tables that only say the same again are left out
    **{p.title: BASE_NEW_ABOUT for p in PROTOCOLS.values() if p.measure == BASE_NEW},
    "Few-shot": "Accuracy in percent by the number of training images per class. A dash stands where a seed is "
    "missing.",
    "Routing": "In how many percent of the images the expert that is named like the image's true style is among those "
    "that the router picks. Chance is what a random pick would reach.",
    **{p.title: TRANSFER_ABOUT for p in PROTOCOLS.values() if p.measure == TRANSFER},
}
PUBLISHED_ABOUT = (
    "Our numbers beside those that papers report for the same method, dataset, backbone and shots, and the difference "
    "Δ. A dash stands where no paper has one."
)
SEEDS_ABOUT = "How many seeds it takes to see a difference of one point between two methods on each dataset."
VARIANTS_TITLE = "Further configurations"
VARIANTS_ABOUT = "Methods that were run with several configurations, on the datasets of the further ones."


def protocol_section(runs: ProtocolRuns) -> Section:
    """Tables, figures and further configurations of one protocol."""
    tables = tables_of_part(runs.main, runs.protocol, runs.seeds)
    tables[0].notes.extend(runs.notes)
    blocks: list[Block] = [TableBlock(table, about) for table in tables if (about := TABLES_ABOUT.get(table.title))]
    drawn = drawings(runs.protocol, runs.main, runs.seeds)
    blocks[1:1] = [content.figure_block(drawing.title, drawing.about, drawing.draw) for drawing in drawn]
    if (needed := seeds_table(runs.main, runs.protocol, runs.seeds)) is not None:
        blocks.append(TableBlock(needed, SEEDS_ABOUT))
    blocks += _beside_published(runs)
    if len(runs.variants):
        table = tables_of_part(runs.variants, runs.protocol, runs.seeds)[0]
        blocks.append(TableBlock(Table(VARIANTS_TITLE, table.columns, table.rows, table.notes), VARIANTS_ABOUT))
    key = re.sub("[^a-z0-9]+", "-", f"{runs.protocol} {runs.what}".lower()).strip("-") if runs.what else runs.protocol
    return Section(key, runs.title, PROTOCOLS[runs.protocol].about, blocks)


def _beside_published(runs: ProtocolRuns) -> list[Block]:
    """Ours beside published numbers, where there are any for the same dataset, backbone and shots."""
    summary = summarise(runs.main, runs.protocol, runs.seeds)
    table = beside_table(summary, runs.main, runs.protocol, load_published())
    cells = [item for row in filter(None, table.rows) for item in row if isinstance(item, Cell)]
    any_published = any(cell.spread is None and not cell.signed and not math.isnan(cell.mean) for cell in cells)
    return [Folded(table.title, [TableBlock(table, PUBLISHED_ABOUT)])] if any_published else []


def headline(runs: ProtocolRuns) -> str:
    """The two best methods of a protocol, and whether one is better than the other; empty if nothing is complete."""
    summary = summarise(runs.main, runs.protocol, runs.seeds)
    name = entry_namer(summary)
    mean = list(measured(runs.protocol))[-1]
    std, what = std_of(mean), "H" if mean == "h" else "accuracy"
    averaged = AVERAGE in summary.index.unique("dataset")
    where = AVERAGE if averaged else summary.index.unique("dataset")[-1]
    ranked = summary.loc[where].dropna(subset=mean).sort_values(mean, ascending=False)
    shots = ranked.index.get_level_values("shots")
    ranked = ranked[(shots == shots.max()) | (shots == 0)].head(2) if len(ranked) else ranked
    if ranked.empty:
        return ""
    of = "of the average" if averaged else f"on {where}"
    numbers = [f"{name(entry)} {cell_text(Cell(row[mean], row[std]))}" for entry, row in ranked.iterrows()]
    end = f" {_verdict(runs, ranked, mean, std, where, name)}" if len(ranked) == 2 else ""
    return f"{runs.title}: highest {what} {of}: {', then '.join(numbers)}.{end}"


def _verdict(
    runs: ProtocolRuns, best: pd.DataFrame, mean: str, std: str, where: str, name: Callable[[tuple], str]
) -> str:
    """Whether the first of the two best is better than the second: in pairs, as `mocoop compare` says it, if they are.

    best: two rows of a summary. where: the dataset, or AVERAGE. name: of an entry.
    """
    entries = pd.MultiIndex.from_frame(runs.main[ENTRY])
    (a, name_a), (b, name_b) = ((runs.main[entries.isin([entry])], name(entry)) for entry in best.index)
    try:
        rows, _ = compare(a, b, runs.protocol, (name_a, name_b))
        row = next(row for row in rows if row.dataset == where and row.measure == ("H" if mean == "h" else "all"))
    except (DataError, StopIteration):
        near = best[mean].iloc[0] - best[mean].iloc[1] < best[std].sum()
        return f"The runs cannot be paired{', and they differ by less than their deviations' if near else ''}."
    if math.isnan(row.p):
        return "One seed does not tell whether that is chance."
    found = (row.difference.mean, row.difference.low, row.difference.high)
    mean, low, high = (cell_text(Cell(value, None, signed=True)) for value in found)
    who = "The two are" if row.verdict == NOT_TOLD_APART else f"{name_a} is"
    numbers = f"{mean} points, 95 % interval {low} to {high}, p {p_text(row.p)}"
    return f"{who} {row.verdict}: {numbers}, paired by image and seed."


TRAINING_ABOUT = (
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
        trained = trained[[(Path(folder) / HISTORY).is_file() for folder in trained["folder"]]]
        if len(trained):
            of_most_shots = trained[trained["shots"] == trained["shots"].max()]
            drawn = {
                f"Training on {dataset}": partial(_curves, part) for dataset, part in of_most_shots.groupby("dataset")
            }
            return Section("training", "Training", TRAINING_ABOUT, content.folded_figures(FIGURE_ABOUT, drawn))
    return None


def _curves(runs: pd.DataFrame) -> Figure:
    curves = in_method_order(runs[["method", "cfg"]].itertuples(index=False, name=None))
    names = dict(zip(curves, curve_names(curves)))
    histories: dict = {name: {} for name in names.values()}
    for run in runs.itertuples():
        histories[names[run.method, run.cfg]][run.seed] = read_history(Path(run.folder) / HISTORY)
    return training_figure(histories)


SETTINGS_ABOUT = "The settings that the methods were run with, what they cost, and on what software."
DIFFERS_ABOUT = (
    "Every setting that several methods have and that is not the same everywhere. A bar separates values where runs of "
    "one method differ, by dataset, number of shots or protocol; a dash stands where a method has no such setting."
)
COST_ABOUT = "Seconds that a run took to train and to test, and the most memory it held, mean ± std over all runs."
VERSIONS_ABOUT = "The software that the runs were made with."
PER_RUN_KEYS = {*UNHASHED_KEYS, "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME"}
TRAINING_NODES = ("OPTIM.", "TRAIN.", "DATALOADER.TRAIN_")
ABSENT = "–"
BAR = " | "
LONGEST = 60  # characters of a value
MOST_VALUES = 4


def settings_section(runs: Runs) -> Section:
    """Tables of differences, cost and versions, and the whole config of each method, folded."""
    finished = runs.finished
    records = read_records(finished)
    settings = {}
    for name, part in _by_method(finished):
        if found := [own_settings(records[folder]) for folder in part["folder"] if folder in records]:
            settings[name] = found
    tables = {DIFFERS_ABOUT: differences(settings), COST_ABOUT: _cost(finished), VERSIONS_ABOUT: _versions(records)}
    blocks = [TableBlock(table, about) for about, table in tables.items() if table.rows]
    whole = [Folded(f"All settings of {name}", [Listing(as_lines(found[0]))]) for name, found in settings.items()]
    return Section("settings", "How the runs were made", SETTINGS_ABOUT, [*blocks, *whole])


def read_records(runs: pd.DataFrame) -> dict[str, dict]:
    """{folder: record}, of the runs that have one."""
    records = {}
    for folder in runs["folder"].dropna():
        with contextlib.suppress(MocoopError):  # a run that is known by its log only
            records[folder] = read_record(Path(folder) / FILE_NAME)
    return records


def own_settings(record: dict) -> dict[str, str]:
    """Dotted key and value of what a run's method and data read of its config, without what is particular to one run.

    Nor those of training where nothing was trained.
    """
    foreign = () if record["epoch"] is not None else TRAINING_NODES
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in leaves(used_config(record["config"]))
        if key not in PER_RUN_KEYS and not key.startswith(foreign)
    }


def differences(settings: dict[str, list[dict[str, str]]]) -> Table:
    """A row per key that several have and that is not the same everywhere, a column each; {name: settings of runs}.

    A key that the runs of one have in different values counts too.
    """
    rows = []
    for key in dict.fromkeys(key for found in settings.values() for one in found for key in one):
        values = [_values(found, key) for found in settings.values()]
        present = [value for value in values if value != ABSENT]
        if len(set(present)) > 1 or any(BAR in value for value in present):
            rows.append([key, *values])
    return Table("What differs", ["Setting", *settings], rows)


def as_lines(settings: dict[str, str]) -> str:
    """One `KEY value` per line, as train.py takes them."""
    return "\n".join(f"{key} {value}" for key, value in settings.items())


def _values(found: list[dict[str, str]], key: str) -> str:
    values = [shortened(value, LONGEST) for value in dict.fromkeys(one.get(key, ABSENT) for one in found)]
    more = [f"and {len(values) - MOST_VALUES} more"] if len(values) > MOST_VALUES else []
    return BAR.join(values[:MOST_VALUES] + more)


def _by_method(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Name and runs of each method and cfg."""
    parts = dict(list(runs.groupby(["method", "cfg"])))
    return [(" ".join(entry), parts[entry]) for entry in in_method_order(parts)]


def _cost(runs: pd.DataFrame) -> Table:
    rows = []
    for name, part in _by_method(runs):
        training = part.loc[part["phase"].isin(TRAINED), "train_seconds"]
        rows.append([name, str(len(part)), *map(_spread, (training, part["test_seconds"], part["peak_memory_mb"]))])
    return Table("Cost", ["Method", "Runs", "Training (s)", "Test (s)", "Memory (MB)"], rows)


def _spread(values: pd.Series) -> str:
    values = values.dropna().astype(float)
    if values.empty:
        return ABSENT
    return f"{values.mean():.1f}" if len(values) < 2 else f"{values.mean():.1f} ± {values.std():.1f}"


def _versions(records: dict[str, dict]) -> Table:
    found: dict[str, list[str]] = {}
    for record in records.values():
        stated = {"engine": record["engine"], "backbone": record["backbone"], **record["versions"]}
        for name, version in stated.items():
            found.setdefault(name, []).append(str(version))
    rows = [[name, BAR.join(dict.fromkeys(versions))] for name, versions in found.items()]
    days = sorted(record["finished"][:10] for record in records.values())
    rows += [["finished", " to ".join(dict.fromkeys([days[0], days[-1]]))]] if days else []
    return Table("Versions", ["Software", "Version"], rows)
