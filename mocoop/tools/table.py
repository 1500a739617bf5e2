"""Prints the tables of an output tree: base, new and H, or accuracies, over seeds.

mocoop table                                      base to new, as the scripts write it below output/
mocoop table --protocol xd --format latex         another protocol, for a paper
mocoop table --base DIR --new DIR                 two folders of seed1, seed2, ... given by hand
"""

import argparse
import logging

import pandas as pd

from mocoop.errors import DataError
from mocoop.results.aggregate import pair_folders
from mocoop.results.collect import LAYOUT, Collection, collect
from mocoop.results.render import FORMATS
from mocoop.results.tables import Table, accuracy_table, base_new_table, routing_table

PROTOCOLS = ("base2new", "few_shot", "xd", "dg")

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="folder of results (default: %(default)s)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="base2new", help="default: %(default)s")
    parser.add_argument("--base", metavar="DIR", help="runs on base classes, instead of OUTPUT; with --new")
    parser.add_argument("--new", metavar="DIR", help="runs on new classes; with --base")
    parser.add_argument("--datasets", type=_names, metavar="A,B", help="only these")
    parser.add_argument("--methods", type=_names, metavar="A,B", help="only these")
    parser.add_argument("--cfgs", type=_names, metavar="A,B", help="only these configurations")
    parser.add_argument("--shots", type=_numbers, metavar="N,M", help="only these; zero-shot runs have 0")
    parser.add_argument("--seeds", type=_numbers, metavar="N,M", help="these are expected (default: all that occur)")
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Prints the tables, and on stderr one line for each run that could not be used."""
    found = _collect(args)
    runs = _select(found.frame, args)
    render = FORMATS[args.format]
    print("\n".join(render(table) for table in _tables(runs, args)), end="")
    for problem in found.problems:
        logger.warning("left out: %s", problem)
    return 0


def _collect(args) -> Collection:
    if not args.base and not args.new:
        found = collect(args.output)
        strays = found.frame.loc[found.frame["protocol"] == "", "folder"]
        found.problems.extend(f"{folder}: not in {LAYOUT}" for folder in strays)
        return found
    if not (args.base and args.new):
        raise DataError("got only one of --base and --new, expected both")
    pair_folders(args.base, args.new)
    parts = [collect(args.base), collect(args.new)]
    for part, classes, flag in zip(parts, ("base", "new"), ("--base", "--new")):
        wrong = part.frame[part.frame["subsample_classes"] != classes]
        if len(wrong):
            raise DataError(f"got a run on {wrong.iloc[0].subsample_classes} classes in {flag}: {wrong.iloc[0].folder}")
    frames = [part.frame.assign(protocol="base2new") for part in parts]
    frames = [frame.assign(phase=phase) for frame, phase in zip(frames, ("train_base", "test_new"))]
    return Collection(pd.concat(frames, ignore_index=True), parts[0].problems + parts[1].problems)


def _select(frame: pd.DataFrame, args) -> pd.DataFrame:
    wanted = {"protocol": [args.protocol], "dataset": args.datasets, "method": args.methods, "cfg": args.cfgs}
    wanted |= {"shots": args.shots, "seed": args.seeds}
    for column, values in wanted.items():
        if values is not None:
            frame = frame[frame[column].isin(values)]
    if frame.empty:
        asked = ", ".join(f"{column} {' '.join(map(str, values))}" for column, values in wanted.items() if values)
        raise DataError(f"{args.output}: no finished run with {asked}; run one with scripts/, or name another folder")
    return frame


def _tables(runs: pd.DataFrame, args) -> list[Table]:
    if args.protocol == "base2new":
        tables = [base_new_table(runs, args.seeds)]
        return tables + [routing_table(runs, args.seeds)] if runs["domain_in_top_k"].notna().any() else tables
    by = "shots" if args.protocol == "few_shot" else "phase"
    return [
        accuracy_table(part, args.seeds, title=f"{args.protocol}, {by} {value}") for value, part in runs.groupby(by)
    ]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
