"""Prints the tables of an output tree: base, new and H, or accuracies, over seeds.

mocoop table                                      base to new, as the scripts write it below output/
mocoop table --protocol xd --format latex         another protocol, for a paper
mocoop table --base DIR --new DIR                 two folders of seed1, seed2, ... given by hand
mocoop table output --logs OLD                    with the log.txt files of an old CoOp tree beside
mocoop table output --published                   with the published numbers of the same methods beside
mocoop table output --without EuroSAT             all data sets but some
mocoop table output --calibration                 how far can confidences be trusted?
mocoop table output --against CoOp                is the difference from CoOp more than chance?
mocoop table --published-only                     the published numbers on their own
"""

import argparse
import logging
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.files import check_unused, write_file
from mocoop.protocol import BASE_NEW, PROTOCOLS
from mocoop.protocols.plan import find_protocol
from mocoop.results.agreement import apart
from mocoop.results.compare import tables_against
from mocoop.results.coop_logs import collect_logs, collect_recorded, for_every_seed
from mocoop.results.published import load_published
from mocoop.results.published_tables import beside_table, published_table
from mocoop.results.render import FORMATS, Table
from mocoop.results.runs import (
    Collection,
    collect,
    collect_transduced,
    join,
    merge,
    place_strays,
    runs_of,
    without_other_models,
)
from mocoop.results.stats import summarise
from mocoop.results.tables import SPREADS, averages_table, calibration_table, per_class_tables, tables_of_part, titled
from mocoop.tools._arguments import PROTOCOL_NAMES, Names, Numbers, Shots, as_given, only, without

OUTPUT = "output"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", help=f"folder of results (default: {OUTPUT})")
    parser.add_argument(
        "--logs", action="append", default=[], metavar="DIR", help="output of CoOp, read by its log.txt, or by records"
    )
    parser.add_argument("--protocol", type=find_protocol, default="base2new", metavar="P", help=PROTOCOL_NAMES)
    parser.add_argument("--base", metavar="DIR", help="runs on base classes, instead of OUTPUT; with --new")
    parser.add_argument("--new", metavar="DIR", help="runs on new classes; with --base")
    parser.add_argument("--datasets", action=Names, metavar="A,B", help="only these")
    parser.add_argument("--without", action=Names, metavar="A,B", help="all data sets but these, also in averages")
    parser.add_argument("--methods", action=Names, metavar="A,B", help="only these")
    parser.add_argument("--cfgs", action=Names, metavar="A,B", help="only these configurations")
    shots = "only these; 0: zero-shot, all: trained on all images"
    parser.add_argument("--shots", action=Shots, metavar="N,M", help=shots)
    parser.add_argument("--seeds", action=Numbers, metavar="N,M", help="these are expected (default: all that occur)")
    parser.add_argument("--against", metavar="METHOD", help="compare the others with it, as mocoop compare does")
    _add_published(parser)
    looks = parser.add_argument_group("looks")
    spread = "standard deviation (std, the default) or 95 %% confidence interval (ci95)"
    looks.add_argument("--spread", choices=SPREADS, default="std", help=spread)
    calibration = "calibration errors before and after the temperatures of mocoop calibrate"
    looks.add_argument("--calibration", action="store_true", help=calibration)
    looks.add_argument("--per-class", action="store_true", help="accuracy of each class too")
    looks.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="default: %(default)s")
    looks.add_argument("--output-file", type=Path, metavar="FILE", help="write the tables there, print none")
    looks.add_argument("--force", action="store_true", help="replace FILE if it exists")


def _add_published(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("published numbers")
    beside = "beside ours, for the same data set, backbone and shots: those of METHOD, else each method's own"
    group.add_argument("--published", nargs="?", const=[], action=Names, metavar="METHOD,...", help=beside)
    group.add_argument(
        "--published-only", action="store_true", help="on their own, of --protocol, --methods, --datasets"
    )
    group.add_argument(
        "--published-csv", metavar="FILE", help="your own, in the columns of mocoop/results/published.csv"
    )


def run(args: argparse.Namespace) -> int:
    """Prints or writes the tables, and on stderr one line for each run that could not be used."""
    if args.output_file:
        check_unused(args.output_file, args.force)
    if args.published_csv and args.published is None and not args.published_only:
        raise DataError("got --published-csv alone, expected --published or --published-only with it")
    tables = _published_tables(args) if args.published_only else _tables(args)
    text = "\n".join(map(FORMATS[args.format], tables))
    if args.output_file:
        write_file(args.output_file, text)
    else:
        print(text, end="")
    return 0


def _tables(args: argparse.Namespace) -> list[Table]:
    found = _collect(args)
    frame, strays = place_strays(found.with_gaps())
    for line in [*(f"left out: {problem}" for problem in found.problems), *strays]:
        logger.warning(line)
    runs, others = without_other_models(_select(for_every_seed(frame), args), args.protocol)
    for problem in others:
        logger.warning("left out: %s", problem)
    runs, notes = (runs, []) if args.cfgs else join(runs, args.protocol)
    tables = []
    for what, part in apart(runs):
        asked = part, args.seeds, args.spread
        of_part = tables_of_part(part, args.protocol, args.seeds, args.spread)
        if args.published is not None:
            summary, numbers = summarise(part, args.protocol, args.seeds), load_published(args.published_csv)
            of_part.insert(1, beside_table(summary, part, args.protocol, numbers, args.published, args.spread))
        averages = averages_table(*asked) if PROTOCOLS[args.protocol].measure == BASE_NEW else None
        of_part += [averages] if averages else []
        of_part += [calibration_table(*asked)] if args.calibration else []
        of_part += per_class_tables(*asked) if args.per_class else []
        tables += titled(of_part, what)
    if args.against is not None:
        tables += tables_against(args.against, runs, args.protocol)
    tables[0].notes.extend([f"Without {', '.join(args.without)}."] if args.without else [])
    tables[0].notes.extend(notes)
    return tables


def _published_tables(args: argparse.Namespace) -> list[Table]:
    ours = ["logs", "base", "new", "cfgs", "shots", "seeds", "against", "per_class", "without", "calibration"]
    if given := [f"--{name.replace('_', '-')}" for name in ours if getattr(args, name)]:
        raise DataError(f"got {', '.join(given)} beside --published-only, which shows no runs of yours")
    numbers = load_published(args.published_csv)
    rows = numbers.frame[numbers.frame["protocol"] == args.protocol]
    if rows.empty:
        raise DataError(f"no number of protocol {args.protocol} is published; expected some in --published-csv")
    return [
        published_table(args.protocol, numbers, args.methods, args.datasets, backbone)
        for backbone in rows["backbone"].unique()
    ]


def _collect(args: argparse.Namespace) -> Collection:
    if not args.base and not args.new:
        folders = [] if args.logs and args.output is None else [args.output or OUTPUT]
        alone = [
            folder for folder in folders if Path(folder).resolve() not in [Path(tree).resolve() for tree in args.logs]
        ]
        by_record = [
            *map(collect, alone),
            *map(collect_transduced, alone),
            *map(collect_recorded, dict.fromkeys(args.logs)),
        ]
        return merge([*by_record, *map(collect_logs, args.logs)])
    if not (args.base and args.new):
        raise DataError("got only one of --base and --new, expected both")
    if args.output or args.logs:
        raise DataError("got OUTPUT or --logs beside --base and --new, expected one or the other")
    base = _collect_side("--base", args.base, "base", "train_base")
    return merge([base, _collect_side("--new", args.new, "new", "test_new")])


def _collect_side(flag: str, folder: str, classes: str, phase: str) -> Collection:
    found = collect(folder)
    wrong = found.frame[found.frame["subsample_classes"] != classes]
    if len(wrong):
        raise DataError(f"got a run on {wrong.iloc[0].subsample_classes} classes in {flag}: {wrong.iloc[0].folder}")
    return merge([Collection(found.frame.assign(protocol="base2new", phase=phase), found.problems, found.gaps)])


def _select(frame: pd.DataFrame, args: argparse.Namespace) -> pd.DataFrame:
    wanted = {"dataset": args.datasets, "method": args.methods, "cfg": args.cfgs}
    wanted |= {"shots": args.shots, "seed": args.seeds}
    runs = without(only(runs_of(frame, args.protocol), wanted), args.without)
    if runs["accuracy"].isna().all():
        named = {"protocol": [args.protocol]} | wanted | {"without": args.without}
        asked = ", ".join(f"{what} {' '.join(map(as_given, values))}" for what, values in named.items() if values)
        where = args.output or ", ".join(args.logs or filter(None, [args.base, args.new])) or OUTPUT
        found = {name: only(runs_of(frame, name), wanted, warn=False) for name in PROTOCOLS}
        found.pop(args.protocol)
        others = [p for p, of in found.items() if of["accuracy"].notna().any() and (of["protocol"] == p).any()]
        hint = f"there are some of {', '.join(others)}: add --protocol {others[0]}" if others else ""
        hint = hint or "make one by mocoop run, or name another folder"
        raise DataError(f"{where}: no finished run with {asked}; {hint}")
    return runs
