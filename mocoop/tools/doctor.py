"""Looks whether everything that a run needs is in place, and says what is not.

mocoop doctor                              the exit status is 1 if something is wrong
mocoop doctor --root DATA --output OUT     with your data root and output folder

Optional things that are absent are notes, and no reason for a status other than 0. Nothing is written or downloaded.
"""

import argparse
import os
from functools import partial
from pathlib import Path

from mocoop.doctor import diagnose, places, software, weights
from mocoop.doctor.finding import PROBLEM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, metavar="DIR", help="data root (default: $DATA, or data)")
    output = os.environ.get("OUTPUT", "output")
    parser.add_argument("--output", type=Path, default=output, metavar="DIR", help="default: $OUTPUT, or output")


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 when there is a problem."""
    named = args.root or os.environ.get("DATA")
    checks = [
        ("Python", software.check_python),
        ("torch", software.check_torch),
        ("engine", software.check_engine),
        ("clip", software.check_clip),
        ("embedded CLIP", weights.check_embedded),
        ("CLIP weights", weights.check_downloaded),
        ("data root", partial(places.check_data, Path(named or "data").expanduser(), bool(named))),
        ("output", partial(places.check_output, args.output.expanduser())),
        ("caches", places.check_caches),
        ("extras", software.check_extras),
    ]
    problems = 0
    for finding in diagnose(checks):
        problems += finding.state == PROBLEM
        print(f"{finding.state:<8} {finding.about:<14} {finding.text}", flush=True)
    print(f"{problems} problem{'s' if problems > 1 else ''} found" if problems else "no problem found")
    return 1 if problems else 0
