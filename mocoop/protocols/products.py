"""What a protocol ends in: its tables, its runs as csv, its figures and its report, of the runs that were asked for."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError
from mocoop.protocols.plan import Run
from mocoop.results.aggregate import base_to_new, join_cfgs
from mocoop.results.collect import COLUMNS, collect, layout_place
from mocoop.results.collect import Collection as Collected
from mocoop.results.render import to_markdown
from mocoop.results.tables import Table, base_new_table, few_shot_table, routing_table, transfer_table


def read_runs(runs: Iterable[Run], lacking: Collection[Run], checkout: Path) -> pd.DataFrame:
    """The runs as `collect` gives them; those that are not finished, or among `lacking`, without results.

    Raises DataError if none has results.
    """
    folders = {run.name: checkout / run.folder for run in runs}
    roots = sorted({folder.parents[5] for folder in folders.values() if folder.parents[5].is_dir()})
    counted = folders.keys() - {run.name for run in lacking}
    frames = [collect(root).frame for root in roots]
    found = pd.concat([frame for frame in frames if len(frame)] or frames[:1] or [pd.DataFrame(columns=COLUMNS)])
    names = ["/".join(Path(folder).parts[-7:]) for folder in found["folder"]]
    found = found[[name in counted for name in names]].reset_index(drop=True)
    if found.empty:
        raise DataError("no run has finished, so there is nothing to put into tables")
    gaps = [layout_place(folder) for name, folder in folders.items() if name not in names or name not in counted]
    return Collected(found, [], gaps).with_gaps()


def protocol_tables(protocol: str, runs: pd.DataFrame, seeds: list[int]) -> list[Table]:
    """The tables of a protocol, in which a seed that is missing is a gap."""
    if protocol == "base2new":
        routes = runs["domain_in_top_k"].notna().any()
        return [base_new_table(runs, seeds)] + ([routing_table(runs, seeds)] if routes else [])
    if protocol == "few_shot":
        joined, notes = join_cfgs(runs)
        table = few_shot_table(joined, seeds)
        table.notes.extend(notes)
        return [table]
    return [transfer_table(runs, seeds, title=protocol.replace("_", " ").capitalize())]


def protocol_figures(protocol: str, runs: pd.DataFrame, seeds: list[int]) -> Iterator[tuple[str, Figure]]:
    """The figures of a protocol, each with its name."""
    if protocol == "base2new":
        from mocoop.results.figures import base_new_figure, base_new_scatter, routing_figure

        summary = base_to_new(runs, seeds)
        yield "base_new", base_new_figure(summary)
        yield "base_against_new", base_new_scatter(summary)
        routing = runs[runs["domain_in_top_k"].notna()]
        if len(routing):
            yield "routing", routing_figure(routing)
    elif protocol == "few_shot":
        from mocoop.results.figures import few_shot_figure

        yield "few_shot", few_shot_figure(join_cfgs(runs)[0], seeds)
    else:
        from mocoop.results.figures import transfer_figure

        source = runs["phase"] == "train"
        yield "transfer", transfer_figure(runs[~source], runs[source], seeds)


def write_tables(path: Path, tables: list[Table], runs: pd.DataFrame) -> str:
    """Writes the tables to `path`, and the runs to results.csv beside it; returns the tables as text."""
    from mocoop.engine.lite.files import atomic_write  # brings torch along, which the rest does not need

    text = "\n".join(map(to_markdown, tables))
    with atomic_write(path) as file:
        file.write(text)
    with atomic_write(path.with_name("results.csv")) as file:
        runs.drop(columns="routing").to_csv(file, index=False)
    return text


def write_figures(folder: Path, figures: Iterable[tuple[str, Figure]]) -> None:
    from mocoop.results.figures import save_figure

    for name, figure in figures:
        save_figure(figure, folder / f"{name}.png")
