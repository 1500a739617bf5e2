"""What a protocol ends in: its tables, its runs as csv, its figures and its report, of the runs that were asked for."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.files import atomic_write, write_file
from mocoop.protocol import BASE_NEW, PROTOCOLS
from mocoop.protocols.plan import Run
from mocoop.protocols.status import output_of
from mocoop.results.agreement import apart
from mocoop.results.figures.by_protocol import drawings
from mocoop.results.figures.routing import routing_figure
from mocoop.results.figures.style import save_figure
from mocoop.results.render import Table, to_markdown
from mocoop.results.runs import ALL_SHOTS, COLUMNS, collect, join, layout_place, merge, without_other_models
from mocoop.results.runs import Collection as Collected
from mocoop.results.tables import protocol_tables

logger = logging.getLogger(__name__)


def finish(protocol: str, runs: list[Run], lacking: Collection[Run], checkout: Path) -> Path:
    """Prints the tables and writes them, the runs, the figures and the report below OUTPUT; returns their folder.

    The report is of all runs of the protocol below OUTPUT. Raises DataError if no run has results.
    """
    from mocoop.report import write_report

    frame, others = without_other_models(read_runs(runs, lacking, checkout), protocol)
    for problem in others:
        logger.warning("left out: %s", problem)
    frame, notes = join(frame, protocol)
    seeds, output = sorted({run.seed for run in runs}), output_of(runs, checkout)
    folder, tables = output / protocol, protocol_tables(frame, protocol, seeds)
    tables[0].notes.extend(notes)
    print(write_tables(folder / "tables.md", tables, frame), end="")
    write_figures(folder, protocol_figures(protocol, frame, seeds))
    write_report(output, folder / "report.html", protocol, seeds=seeds, force=True)
    return folder


def read_runs(runs: Iterable[Run], lacking: Collection[Run], checkout: Path) -> pd.DataFrame:
    """The runs as `collect` gives them; those that are not finished, or among `lacking`, without results.

    Raises DataError if none has results.
    """
    folders = {run.name: checkout / run.folder for run in runs}
    counted = folders.keys() - {run.name for run in lacking}
    parts = [collect(root) for root in sorted({folder.parents[5] for folder in folders.values()}) if root.is_dir()]
    for problem in (problem for part in parts for problem in part.problems):
        if any(f"{name}{end}" in problem for name in counted for end in ":/"):
            logger.warning("left out: %s", problem)
    found = merge(parts or [Collected(pd.DataFrame(columns=COLUMNS), [])]).frame
    names = ["/".join(Path(folder).parts[-7:]) for folder in found["folder"]]
    found = found[[name in counted for name in names]].reset_index(drop=True)
    if found.empty:
        raise DataError("no run has finished, so there is nothing to put into tables")
    gaps = (layout_place(folder) for name, folder in folders.items() if name not in names or name not in counted)
    return Collected(found, [], [gap for gap in gaps if gap]).with_gaps()


def protocol_figures(protocol: str, runs: pd.DataFrame, seeds: list[int]) -> Iterator[tuple[str, Figure]]:
    """The figures of a protocol, each with its name, and that of the routing where a method routes.

    What may not stand in one table is in no one figure.
    """
    for what, part in apart(runs):
        ending = f"_{re.sub(r'[^A-Za-z0-9]+', '-', what)}" if what else ""
        yield from ((drawing.name + ending, drawing.draw()) for drawing in drawings(protocol, part, seeds))
    routing = runs[runs["domain_in_top_k"].notna()]
    if PROTOCOLS[protocol].measure == BASE_NEW:
        parts = list(routing.groupby(["method", "cfg"]))
        for entry, part in parts:
            yield "_".join(["routing", *(map(str, entry) if len(parts) > 1 else ())]), routing_figure(part)


def write_tables(path: Path, tables: list[Table], runs: pd.DataFrame) -> str:
    """Writes the tables to `path`, and the runs to results.csv beside it; returns the tables as text."""
    text = "\n".join(map(to_markdown, tables))
    write_file(path, text)
    with atomic_write(path.with_name("results.csv")) as file:
        runs.drop(columns="routing").replace({"shots": {ALL_SHOTS: "all"}}).to_csv(file, index=False)
    return text


def write_figures(folder: Path, figures: Iterable[tuple[str, Figure]]) -> None:
    """Writes each figure as <name>.png into `folder`."""
    for name, figure in figures:
        save_figure(figure, folder / f"{name}.png")
