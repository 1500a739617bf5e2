"""What has become of the runs below an output folder: queued, running, failed, done.

mocoop status output          a line for each run that is running, failed or interrupted, and how many there are of each
mocoop status output --all    a line for each run

It reads the runs' records, logs and locks, and asks SLURM for its jobs where it is installed.
"""

import argparse
from collections import Counter
from pathlib import Path

from mocoop.errors import DataError
from mocoop.protocols import slurm
from mocoop.protocols.status import STATES, states

QUIET = ("queued", "done")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="folder of the results, or a part of it")
    parser.add_argument("--all", action="store_true", help="a line for each run, queued and finished ones too")


def run(args: argparse.Namespace) -> int:
    if not args.output.is_dir():
        raise DataError(f"{args.output}: no such folder, expected one with runs")
    found = sorted(states(args.output, slurm.jobs() or {}), key=lambda state: STATES.index(state.status))
    for state in found:
        if args.all or state.status not in QUIET:
            print(f"{state.status:11}  {state.name}{'  ' if state.detail else ''}{state.detail}")
    if not found:
        raise DataError(f"{args.output}: no runs, expected a folder of results or a part of it")
    counts = Counter(state.status for state in found)
    print(
        f"{len(found)} runs: {', '.join(f'{counts[status]} {status}' for status in reversed(STATES) if counts[status])}"
    )
    return 0
