"""Gathers a report and writes it."""

import logging
import math
import re
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

import jinja2

from mocoop import __version__
from mocoop.errors import ConfigError
from mocoop.report.content import Section, figures_in
from mocoop.report.protocol_sections import headline, protocol_section
from mocoop.report.routing_section import routing_section
from mocoop.report.runs import Runs, find_runs
from mocoop.report.settings_section import settings_section
from mocoop.report.terms import explained
from mocoop.report.training_section import training_section
from mocoop.results.expert_use import that_route
from mocoop.results.figures import save_figure
from mocoop.results.render import cell_text
from mocoop.results.tables import Cell, Table

DEFAULT_NAME = "report.html"
MARK = '<meta name="generator" content="mocoop report">'  # in the head of the template; tells ours from other files

logger = logging.getLogger(__name__)


def write_report(
    output: Path,
    path: Path | None = None,
    protocol: str | None = None,
    *,
    seeds: list[int] | None = None,
    data_root: Path | None = None,
    similarity: bool = True,
    figures: Path | None = None,
    force: bool = False,
) -> Path:
    """Writes the runs below `output` into one HTML file that loads nothing else; returns its path.

    Args:
        path: by default report.html in `output`, where an earlier report is replaced.
        protocol: base2new, few_shot, xd or dg; by default all that there are.
        seeds: those that are expected; by default all that occur.
        data_root: where the images are, by default where the runs read them.
        similarity: load the trained models of a method that routes, to compare its experts.
        figures: a folder for each figure as a PDF.
        force: replace `path` if it exists, and files in `figures`.

    Raises:
        ConfigError: if `path` exists and may not be replaced, or `figures` holds files.
        DataError: if there is no finished run.
    """
    output = Path(output)
    path = output / DEFAULT_NAME if path is None else Path(path)
    check_replaceable(path, force or path == output / DEFAULT_NAME and is_report(path))
    if figures is not None and not force and Path(figures).exists() and any(Path(figures).iterdir()):
        raise ConfigError(
            f"{figures} is not empty; name another folder with --figures, or --force to replace files in it"
        )
    runs = find_runs(output, protocol, seeds)
    sections = gather(runs, data_root, similarity)

    from mocoop.engine.lite.files import atomic_write  # brings torch along, which the rest does not need

    if figures is not None:
        save_figures(sections, Path(figures))
    with atomic_write(path) as file:
        file.write(render(runs, sections))
    return path


def check_replaceable(path: Path, may_replace: bool) -> None:
    """Raises ConfigError where something lies at `path` that may not be replaced."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected the name of an HTML file")
    if path.exists() and not may_replace:
        raise ConfigError(f"{path} exists already; name another file with --to, or --force to replace it")


def is_report(path: Path) -> bool:
    """Whether the file is a report of ours."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return MARK.encode() in file.read(2000)


def save_figures(sections: list[Section], folder: Path) -> None:
    """Each figure as a PDF, named by its section and title."""
    for section in sections:
        for block in figures_in(section.blocks):
            name = re.sub(r"[^a-z0-9]+", "-", f"{section.key} {block.title}".lower()).strip("-")
            save_figure(block.figure, folder / f"{name}.pdf")


def gather(runs: Runs, data_root: Path | None, similarity: bool) -> list[Section]:
    """The sections of a report, in order."""
    logger.info("drawing the figures of %d runs", len(runs.finished))
    sections = [protocol_section(part) for part in runs.protocols]
    sections += [routing_section(runs, data_root, similarity), training_section(runs), settings_section(runs)]
    return [section for section in sections if section is not None]


def render(runs: Runs, sections: list[Section]) -> str:
    """The page. Everything that comes from files is escaped by the template engine."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mocoop.report", "template"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"cell_text": cell_text, "row_groups": row_groups, "is_gap": is_gap}
    environment.tests["cell"] = lambda item: isinstance(item, Cell)
    protocols = [part.protocol for part in runs.protocols]
    routes = len(that_route(runs.finished)) > 0
    return environment.get_template("report.html").render(
        mark=MARK,
        name=runs.output.resolve().name,
        facts=_facts(runs),
        headlines=list(filter(None, (headline(part) for part in runs.protocols))),
        terms=explained(protocols, routes),
        sections=sections,
        problems=runs.problems,
    )


def _facts(runs: Runs) -> list[str]:
    finished = runs.finished
    seeds = sorted({seed for part in runs.protocols for seed in part.seeds})
    counts = {"finished run": len(finished), "method": finished["method"].nunique()}
    counts["dataset"] = finished["dataset"].nunique()
    return [
        *(f"{number} {what}{'' if number == 1 else 's'}" for what, number in counts.items()),
        f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}",
        f"written {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by mocoop {__version__}",
    ]


def row_groups(table: Table) -> list[list[list]]:
    """The rows in groups: of one first label, or between separators."""
    groups, blocks = [], [[]]
    for row in table.rows:
        blocks.append([]) if row is None else blocks[-1].append(row)
    for block in filter(None, blocks):
        nested = len(block[0]) > 1 and not isinstance(block[0][1], Cell)
        groups += [list(rows) for _, rows in groupby(block, key=lambda row: row[0])] if nested else [block]
    return groups


def is_gap(cell: Cell) -> bool:
    return math.isnan(cell.mean)
