"""The section on how the runs were made: what differs between the methods' settings, cost, versions, whole configs."""

import json
from pathlib import Path

import pandas as pd

from mocoop.config import leaves
from mocoop.errors import MocoopError
from mocoop.protocol import TRAINED
from mocoop.report.content import Folded, Listing, Section, TableBlock
from mocoop.report.runs import Runs
from mocoop.results.figures.style import in_method_order, shortened
from mocoop.results.record import FILE_NAME, UNHASHED_KEYS, read_record, used_config
from mocoop.results.tables import Table

ABOUT = "The settings that the methods were run with, what they cost, and on what software."
DIFFERS_ABOUT = (
    "Every setting that several methods have and that is not the same everywhere. A bar separates values where runs of "
    "one method differ, by dataset, number of shots or protocol; a dash stands where a method has no such setting."
)
COST_ABOUT = "Seconds that a run took to train and to test, and the most memory it held, mean ± std over all runs."
VERSIONS_ABOUT = "The software that the runs were made with."
PER_RUN_KEYS = {*UNHASHED_KEYS, "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME"}
TRAINING_NODES = ("OPTIM.", "TRAIN.", "DATALOADER.TRAIN_")
ABSENT = "–"
SEPARATOR = " | "
LONGEST = 60  # characters of a value
MOST_VALUES = 4


def settings_section(runs: Runs) -> Section:
    """Tables of differences, cost and versions, and the whole config of each method, folded."""
    finished = runs.finished
    records = read_records(finished)
    settings = {
        name: [own_settings(records[folder]) for folder in part["folder"] if folder in records]
        for name, part in _by_method(finished)
    }
    settings = {name: found for name, found in settings.items() if found}
    blocks = [
        TableBlock(table, about)
        for table, about in [
            (differences(settings), DIFFERS_ABOUT),
            (_cost(finished), COST_ABOUT),
            (_versions(list(records.values())), VERSIONS_ABOUT),
        ]
        if table.rows
    ]
    whole = [Folded(f"All settings of {name}", [Listing(as_lines(found[0]))]) for name, found in settings.items()]
    return Section("settings", "How the runs were made", ABOUT, [*blocks, *whole])


def read_records(runs: pd.DataFrame) -> dict[str, dict]:
    """{folder: record}, of the runs that have one."""
    records = {}
    for folder in runs["folder"].dropna():
        try:
            records[folder] = read_record(Path(folder) / FILE_NAME)
        except MocoopError:
            continue  # a run that is known by its log only
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
    keys = list(dict.fromkeys(key for found in settings.values() for one in found for key in one))
    rows = []
    for key in keys:
        values = [_values(found, key) for found in settings.values()]
        present = [value for value in values if value != ABSENT]
        if len(set(present)) > 1 or any(SEPARATOR in value for value in present):
            rows.append([key, *values])
    return Table("What differs", ["Setting", *settings], rows)


def as_lines(settings: dict[str, str]) -> str:
    """One `KEY value` per line, as train.py takes them."""
    return "\n".join(f"{key} {value}" for key, value in settings.items())


def _values(found: list[dict[str, str]], key: str) -> str:
    values = [shortened(value, LONGEST) for value in dict.fromkeys(one.get(key, ABSENT) for one in found)]
    more = [f"and {len(values) - MOST_VALUES} more"] if len(values) > MOST_VALUES else []
    return SEPARATOR.join(values[:MOST_VALUES] + more)


def _by_method(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Name and runs of each method and cfg."""
    parts = dict(list(runs.groupby(["method", "cfg"])))
    return [(" ".join(entry), parts[entry]) for entry in in_method_order(parts)]


def _cost(runs: pd.DataFrame) -> Table:
    rows = []
    for name, part in _by_method(runs):
        training = part.loc[part["phase"].isin(TRAINED), "train_seconds"]
        numbers = [training, part["test_seconds"], part["peak_memory_mb"]]
        rows.append([name, str(len(part)), *map(_spread, numbers)])
    return Table("Cost", ["Method", "Runs", "Training (s)", "Test (s)", "Memory (MB)"], rows)


def _spread(values: pd.Series) -> str:
    values = values.dropna().astype(float)
    if values.empty:
        return ABSENT
    return f"{values.mean():.1f}" if len(values) < 2 else f"{values.mean():.1f} ± {values.std():.1f}"


def _versions(records: list[dict]) -> Table:
    found: dict[str, list[str]] = {}
    for record in records:
        stated = {"engine": record["engine"], "backbone": record["backbone"], **record["versions"]}
        for name, version in stated.items():
            found.setdefault(name, []).append(str(version))
    rows = [[name, SEPARATOR.join(dict.fromkeys(versions))] for name, versions in found.items()]
    days = sorted(record["finished"][:10] for record in records)
    rows += [["finished", " to ".join(dict.fromkeys([days[0], days[-1]]))]] if days else []
    return Table("Versions", ["Software", "Version"], rows)
