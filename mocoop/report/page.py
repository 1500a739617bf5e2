"""The page: a report's sections as HTML. The template engine escapes everything that comes from files."""

import math
from datetime import datetime, timezone
from itertools import groupby

import jinja2

from mocoop import __version__
from mocoop.report.content import Section
from mocoop.report.protocol_sections import headline
from mocoop.report.runs import Runs
from mocoop.report.terms import explained
from mocoop.results.render import cell_text
from mocoop.results.routing import that_route
from mocoop.results.tables import Cell, Table

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
    environment.filters |= {
        "cell_text": cell_text,
        "row_groups": row_groups,
        "is_gap": is_gap,
    }
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
