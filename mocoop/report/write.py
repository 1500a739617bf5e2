"""Gathers a report and writes its page: the template engine escapes everything that comes from files."""

import contextlib
import logging
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

import jinja2

from mocoop import __version__
from mocoop.files import check_empty, check_unused, write_file
from mocoop.protocol import PROTOCOLS
from mocoop.report.content import Runs, Section, figures_in, find_runs
from mocoop.report.routing_section import routing_section
from mocoop.report.sections import headline, protocol_section, settings_section, training_section
from mocoop.results.figures.style import save_figure
from mocoop.results.render import Cell, Table, cell_text
from mocoop.results.routing import that_route

ALWAYS = {
    "accuracy": "The share of test images whose class is predicted right, in percent.",
    "seed": "The number that draws the training images and starts the learning. Several seeds show how much chance "
    "there is in a result.",
    "mean ± std": "The mean over the seeds and their sample standard deviation.",
    "better, worse, not told apart": "Whether two methods differ by more than chance in seeds and test images, tested "
    "on the same images with the same seeds (mocoop compare).",
    "shots": "Training images per class. A zero-shot method learns nothing and has 0.",
}
ROUTING_TERMS = {
    "expert": "One of a mixture's soft prompts. Each starts from a group of hand-written templates and has its name.",
    "routing": "For each image the router picks the few experts that fit it best, the top-k, and weighs their answers.",
    "gate weights": "How much the answer of each picked expert counts. They add up to 1.",
}


MARK = '<meta name="generator" content="mocoop report">'  # in the head of the template; tells ours from other files


def render(runs: Runs, sections: list[Section]) -> str:
    """The whole page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mocoop.report", "template"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"cell_text": cell_text, "row_groups": row_groups}
    environment.tests |= {"cell": lambda item: isinstance(item, Cell), "gap": lambda cell: math.isnan(cell.mean)}
    terms = dict(ALWAYS)
    for part in runs.protocols:
        terms |= PROTOCOLS[part.protocol].terms
    if len(that_route(runs.finished)):
        terms |= ROUTING_TERMS
    return environment.get_template("report.html").render(
        mark=MARK,
        name=runs.output.resolve().name,
        facts=_facts(runs),
        headlines=list(filter(None, (headline(part) for part in runs.protocols))),
        terms=terms,
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
    groups: list[list[list]] = []
    blocks: list[list[list]] = [[]]
    for row in table.rows:
        if row is None:
            blocks.append([])
        else:
            blocks[-1].append(row)
    for block in filter(None, blocks):
        nested = len(block[0]) > 1 and not isinstance(block[0][1], Cell)
        groups += [list(rows) for _, rows in groupby(block, key=lambda row: row[0])] if nested else [block]
    return groups


DEFAULT_NAME = "report.html"
# what these say of each model that is loaded belongs to training
QUIET = ("mocoop.backbone", "mocoop.methods", "mocoop.training.finished", "mocoop.training.learner")

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet(names: Iterable[str]) -> Iterator[None]:
    """Let these loggers report errors only, until the block ends."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


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
        protocol: one of PROTOCOLS; by default all that there are.
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
    check_unused(path, force or path == output / DEFAULT_NAME and is_report(path))
    figures = figures and Path(figures)
    if figures:
        check_empty(figures, force)
    runs = find_runs(output, protocol, seeds)
    with quiet(QUIET):
        sections = gather(runs, data_root, similarity)
    if figures:
        save_figures(sections, figures)
    write_file(path, render(runs, sections))
    return path


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
            name = re.sub(r"[^\w.]+", "-", f"{section.key} {block.title}".lower()).strip("-")
            save_figure(block.figure, folder / f"{name}.pdf")


def gather(runs: Runs, data_root: Path | None, similarity: bool) -> list[Section]:
    """The sections of a report, in order."""
    logger.info("drawing the figures; finished runs: %d", len(runs.finished))
    results = [protocol_section(part) for part in runs.protocols]
    optional = [routing_section(runs, data_root, similarity), training_section(runs)]
    return [*results, *filter(None, optional), settings_section(runs)]
