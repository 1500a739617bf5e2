"""Gathers a report and writes it."""

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mocoop.files import check_empty, check_unused, write_file
from mocoop.report.content import Section, figures_in
from mocoop.report.page import MARK, render
from mocoop.report.protocol_sections import protocol_section
from mocoop.report.routing_section import routing_section
from mocoop.report.runs import Runs, find_runs
from mocoop.report.settings_section import settings_section
from mocoop.report.training_section import training_section
from mocoop.results.figures.style import save_figure

DEFAULT_NAME = "report.html"
# what these say of each model that is loaded belongs to training
QUIET = ("mocoop.backbone", "mocoop.methods", "mocoop.runs.trained_run", "mocoop.training.precision")

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
    sections = [protocol_section(part) for part in runs.protocols]
    sections += [routing_section(runs, data_root, similarity), training_section(runs), settings_section(runs)]
    return [section for section in sections if section is not None]
