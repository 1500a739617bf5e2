"""What experiments on MoCoOp share: variants of its keys, a folder of runs for each, and who is better than whom.

Runs lie in OUTPUT/<variant>/<protocol>/...; finished ones are kept.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mocoop.files import write_file
from mocoop.protocols.execute import run_all
from mocoop.protocols.plan import Request, Run, plan_runs
from mocoop.results.compare import Row, compare
from mocoop.results.render import Table, to_markdown
from mocoop.results.runs import collect

CHECKOUT = Path(__file__).resolve().parents[1]
WORKERS = int(os.environ.get("WORKERS", 1))


def output_of(experiment: str) -> Path:
    """The folder of an experiment: that of the variable OUTPUT, else one in the checkout."""
    return Path(os.environ.get("OUTPUT", CHECKOUT / "output" / experiment))


def variant_runs(folder: Path, keys: dict, request: Request) -> list[Run]:
    """The runs of a request with some keys of TRAINER.MOCOOP, in a folder of the variant."""
    overrides = [word for key, value in keys.items() for word in (f"TRAINER.MOCOOP.{key}", str(value))]
    request = replace(request, output=str(folder), overrides=(*request.overrides, *overrides))
    return plan_runs(request, CHECKOUT)


def run_seed_by_seed(runs: Sequence[Run]) -> int:
    """How many lines there are to say of runs that failed; they are printed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    problems = run_all(sorted(runs, key=lambda run: run.seed), CHECKOUT, (None,) * WORKERS).lines(CHECKOUT)
    for line in problems:
        print(line, file=sys.stderr)
    return len(problems)


def differences(a: Path, b: Path, protocol: str) -> list[Row]:
    """The rows of `mocoop compare` of two variants' folders."""
    return compare(*(collect(folder).with_gaps() for folder in (a, b)), protocol, (a.name, b.name))[0]


def in_words(row: Row) -> str:
    """A difference in points with its interval, and the verdict: "+1.2 (0.3 to 2.1), better"."""
    found = row.difference
    mean, low, high = (round(value, 1) + 0.0 for value in (found.mean, found.low, found.high))  # and no minus zero
    return f"{mean:+} ({low} to {high}), {row.verdict}"


def write(table: Table, path: Path) -> None:
    """Write a table in Markdown, and print it."""
    text = to_markdown(table)
    write_file(path, text)
    print(text)
