"""Every method base-to-new on the Shapes sets over three seeds, with MoCoOp's ablations on one of them; then tables
and figures.

The runs are those of scripts/<method>/base2new_*.sh, in the same folders; finished ones are kept. Started by demo.sh,
in the checkout, as `python -m scripts.demo`.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import MocoopError
from mocoop.protocols.execute import run_all
from mocoop.protocols.plan import Request, Run, plan_runs
from mocoop.protocols.products import protocol_figures, read_runs, write_figures, write_tables
from mocoop.results.figures.by_protocol import base_new_figure
from mocoop.results.render import Table
from mocoop.results.stats import base_to_new
from mocoop.results.tables import ablation_table, protocol_tables

CHECKOUT = Path(__file__).resolve().parents[1]
OUTPUT = Path(os.environ.get("OUTPUT", CHECKOUT / "output"))
WORKERS = 2

DATASETS = ("shapes_color", "shapes_shape", "shapes_both")
ABLATED = ("shapes_both",)
SEEDS = (1, 2, 3)
SHOTS = 16
VARIANTS = {
    "tiny": "MoCoOp",
    "tiny_one_expert": "one expert",
    "tiny_random_router": "random router",
    "tiny_dense": "dense",
}


def plan() -> list[Run]:
    """All runs of the demo, seed by seed."""
    methods = Request("base2new", datasets=DATASETS, seeds=SEEDS, shots=(SHOTS,), cfg="tiny")
    ablations = [Request("base2new", ("MoCoOp",), ABLATED, SEEDS, (SHOTS,), cfg) for cfg in VARIANTS if cfg != "tiny"]
    runs = [run for request in (methods, *ablations) for run in plan_runs(request, CHECKOUT)]
    return sorted(runs, key=lambda run: run.seed)


def tables(runs: pd.DataFrame) -> list[Table]:
    methods, ablated = _parts(runs)
    return [*protocol_tables(methods, "base2new", list(SEEDS)), ablation_table(ablated, VARIANTS, list(SEEDS))]


def figures(runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    methods, ablated = _parts(runs)
    yield from protocol_figures("base2new", methods, list(SEEDS))
    yield "ablations", base_new_figure(base_to_new(ablated, list(SEEDS)), VARIANTS)


def _parts(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of the methods that are compared, and those of MoCoOp's variants."""
    return runs[runs["cfg"] == "tiny"], runs[(runs["method"] == "MoCoOp") & runs["dataset"].isin(ABLATED)]


def report(runs: pd.DataFrame, folder: Path) -> None:
    """Prints the tables and writes them, the runs, the figures and the report."""
    from mocoop.report import write_report  # slow to import, and needed only here

    print("\n" + write_tables(folder / "table.md", tables(runs), runs))
    write_figures(folder, figures(runs))
    write_report(OUTPUT, folder / "report.html", "base2new", seeds=list(SEEDS), force=True)


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers; as the results in docs/shapes.md were made
    runs = plan()
    try:
        outcome = run_all(runs, CHECKOUT, (None,) * WORKERS)
    except KeyboardInterrupt:
        print("interrupted; run the same command to resume", file=sys.stderr)
        return 130
    problems = outcome.lines(CHECKOUT)
    try:
        report(read_runs(runs, outcome.lacking(), CHECKOUT), OUTPUT / "demo")
        print(f"Tables, runs, figures and report: {OUTPUT / 'demo'} ({time.monotonic() - started:.0f} s)")
    except MocoopError as error:
        problems.append(f"failed: tables: {error}")
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
