"""The results of the experiment that a run belongs to, over all seeds that lie beside it, as tables."""

import glob
from pathlib import Path

from mocoop.protocol import PROTOCOLS, TRANSFER
from mocoop.results.agreement import VALIDATION
from mocoop.results.by_protocol import protocol_tables, runs_of, without_other_models
from mocoop.results.collect import collect, layout_place, merge
from mocoop.results.tables import Cell, Table

ALONE = "One seed: how far another would lie from it is not known."
NAMES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "top5": "Top-5", "ece": "Calibration error"}


def results_tables(folder: Path, record: dict) -> list[Table]:
    """The tables of every protocol that the run was trained for, of its method and configuration alone.

    A run outside the layout of `mocoop.results.collect` is its own experiment.
    """
    place = layout_place(folder)
    tables = [] if place is None else [table for name in PROTOCOLS for table in _of_protocol(name, folder, place)]
    return tables or [_of_record(record)]


def _of_protocol(name: str, folder: Path, place: dict) -> list[Table]:
    protocol, output = PROTOCOLS[name], folder.absolute().parents[6]
    if f"{place['protocol']}/{place['phase']}" not in [phase.folder for phase in protocol.phases]:
        return []
    rest = glob.escape("/".join(folder.absolute().parts[-4:-1]))  # shots, method and configuration
    dataset = "*" if protocol.measure == TRANSFER else glob.escape(place["dataset"])
    found = [path for phase in protocol.phases for path in sorted(output.glob(f"{phase.folder}/{dataset}/{rest}"))]
    if name != place["protocol"] and not any(path.is_relative_to(output / name) for path in found):
        return []  # it shares the training, and tested nothing
    runs, _ = without_other_models(runs_of(merge(list(map(collect, found))).with_gaps(), name), name)
    tables = protocol_tables(runs, name)
    if runs["seed"].nunique() == 1:
        tables[0].notes.insert(0, ALONE)
    return tables


def _of_record(record: dict) -> Table:
    cells = [Cell(record["metrics"][name], spread=None) for name in NAMES if name in record["metrics"]]
    heads = [head for name, head in NAMES.items() if name in record["metrics"]]
    images = f"{record['dataset']}, {record['subsample_classes']} classes"
    images += ", validation images" if record["split"] == VALIDATION else ""
    return Table("Results", ["Images", *heads], [[images, *cells]], [f"In percent. {ALONE}"])
