"""Says which of two methods is better where, from what both answered to the same images with the same seeds.

mocoop compare MoCoOp CoOp                                    of the runs below output/
mocoop compare MoCoOp/tiny_dense MoCoOp/tiny --on output      two configurations of one method
mocoop compare RUN_A RUN_B                                    two folders of runs
mocoop compare MoCoOp CoOp --protocol xd --format latex       another protocol, for a paper
mocoop compare MoCoOp CoOp --without EuroSAT                  all data sets but some
mocoop compare MoCoOp CoOp --plan 3,5,10                      how small a difference would so many seeds show?
"""

import argparse
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import PROTOCOLS
from mocoop.protocols.plan import find_protocol
from mocoop.results.compare import comparison_table, named_runs
from mocoop.results.planning import plan_table
from mocoop.results.render import FORMATS, Table
from mocoop.results.runs import runs_of
from mocoop.tools._arguments import PROTOCOL_NAMES, Names, Numbers, Shots, only, with_transduced, without


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a method, METHOD/CONFIGURATION, or a folder of runs")
    parser.add_argument("b", metavar="B", help="what it is compared with")
    parser.add_argument("--on", default="output", metavar="OUTPUT", help="folder of results (default: %(default)s)")
    first = f"one of {PROTOCOL_NAMES} (default: the first that both have runs of)"
    parser.add_argument("--protocol", type=find_protocol, metavar="P", help=first)
    parser.add_argument("--datasets", action=Names, metavar="A,B", help="only these")
    parser.add_argument("--without", action=Names, metavar="A,B", help="all data sets but these")
    plan = "instead: the smallest difference that N seeds would show, for the spread so far (default: 3,5,10,20)"
    parser.add_argument("--plan", nargs="?", const=[3, 5, 10, 20], action=Numbers, metavar="N,M", help=plan)
    parser.add_argument("--seeds", action=Numbers, metavar="N,M", help="only these")
    parser.add_argument("--shots", action=Shots, metavar="N,M", help="only these; all: trained on all images")
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Prints the comparison."""
    if args.plan and min(args.plan) < 2:
        raise DataError(f"got --plan {min(args.plan)}, expected 2 seeds or more: one says nothing of the spread")
    folders = [Path(name).is_dir() for name in (args.a, args.b)]
    output = None if all(folders) else with_transduced(args.on)
    asked, problems = [args.protocol] if args.protocol else list(PROTOCOLS), []
    with_runs = [p for p in asked if output is None or runs_of(output, p)["accuracy"].notna().any()]
    for protocol in with_runs or asked:
        try:
            table = _table(args, protocol, output)
        except DataError as error:
            problems.append(error)
            continue
        print(FORMATS[args.format](table), end="")
        return 0
    raise problems[0]


def _table(args: argparse.Namespace, protocol: str, output: pd.DataFrame | None) -> Table:
    (name_a, a), (name_b, b) = (named_runs(name, output, protocol) for name in (args.a, args.b))
    called = (name_a, name_b) if name_a != name_b else (args.a, args.b)
    wanted = {"dataset": args.datasets, "seed": args.seeds}
    a, b = (without(only(runs, wanted), args.without) for runs in (a, b))
    if args.shots:
        a, b = (runs[runs["shots"].isin([0, *args.shots])] for runs in (a, b))
    table = plan_table(a, b, protocol, called, args.plan) if args.plan else comparison_table(a, b, protocol, called)
    table.notes.extend([f"Without {', '.join(args.without)}."] if args.without else [])
    return table
