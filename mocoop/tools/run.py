"""Runs a whole protocol, several runs side by side, and ends in its tables and figures.

mocoop run base2new --datasets shapes_both --seeds 1,2,3             base to new, the four methods of the paper
mocoop run base2new --methods CoOp,Mine --plugin mine.py             with a method of one's own
mocoop run few_shot --methods CoOp,MoCoOp --datasets caltech101      1, 2, 4, 8 and 16 shots
mocoop run dg --source imagenet --jobs 2                             train on the source, test on its variants
mocoop run base2new --datasets dtd --dry-run                         print the commands of train.py
mocoop run base2new --datasets dtd -- OPTIM.LR 0.01                  KEY VALUE overrides for train.py

PROTOCOL is base2new, base2new_all, few_shot, xd (cross_dataset) or dg (domain_generalization). The runs are those of
scripts/<protocol>.sh, in the same folders, and the scripts' environment variables count where an option is not given.
What has finished is not run again; the same command resumes what was interrupted.
"""

import argparse
import logging
import os
import sys
import time

from mocoop.catalog import listed
from mocoop.checkout import find_checkout
from mocoop.errors import ConfigError, MocoopError
from mocoop.protocol import PROTOCOLS
from mocoop.protocols.configs import COMPARED
from mocoop.protocols.plan import dry_run, plan_runs
from mocoop.protocols.request import Request, find_protocol
from mocoop.protocols.runner import run_all

TAKES_OVERRIDES = True

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help=", ".join(PROTOCOLS))
    parser.add_argument("--methods", metavar="A,B", default=",".join(COMPARED), help="or all (default: %(default)s)")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="Python file that registers methods; repeatable"
    )
    parser.add_argument("--datasets", metavar="A,B", help="configs/datasets/*.yaml (default: those of the papers)")
    parser.add_argument("--seeds", metavar="N,M", help="default: 1,2,3")
    parser.add_argument("--shots", metavar="N,M", help="images a class (default: 16; of few_shot 1,2,4,8,16)")
    parser.add_argument("--cfg", help="configuration of the methods (default: the published one for each dataset)")
    parser.add_argument("--source", help="dataset to train on, for xd and dg (default: imagenet)")
    parser.add_argument("--data", metavar="DIR", help="data root (default: data, in the checkout)")
    parser.add_argument("--output", metavar="DIR", help="folder of the results (default: output, in the checkout)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.usage = f"{parser.prog} PROTOCOL [OPTION ...] [-- KEY VALUE ...]"


def run(args: argparse.Namespace) -> int:
    """Runs what is not finished, then prints and writes the tables; 1 where a run failed, 130 on Ctrl-C."""
    started, request, checkout = time.monotonic(), _request(args), find_checkout()
    if args.jobs < 1:
        raise ConfigError(f"got --jobs {args.jobs}, expected 1 or more")
    if args.dry_run or os.environ.get("DRY_RUN"):
        print("\n".join(dry_run(request, checkout)))
        return 0
    runs = plan_runs(request, checkout)
    try:
        outcome = run_all(runs, checkout, args.jobs)
    except KeyboardInterrupt:
        print("interrupted; run the same command to resume", file=sys.stderr)
        return 130
    problems = outcome.lines(checkout)
    try:
        from mocoop.protocols.products import finish  # what draws is slow to import, and needed only here

        folder = finish(request.protocol, runs, outcome.lacking(), checkout)
        logger.info("Tables, runs, figures and report: %s (%.0f s)", folder, time.monotonic() - started)
    except MocoopError as error:
        problems.append(f"failed: tables: {error}")
    for line in problems:
        logger.error("%s", line)
    return 1 if problems else 0


def _request(args) -> Request:
    methods = _names("--methods", args.methods)
    return Request(
        protocol=find_protocol(args.protocol),
        methods=tuple(listed(tuple(args.plugin))) if methods == ("all",) else methods,
        plugins=tuple(args.plugin),
        datasets=_names("--datasets", args.datasets),
        seeds=_numbers("--seeds", args.seeds),
        shots=_numbers("--shots", args.shots),
        cfg=args.cfg,
        source=args.source,
        data=args.data,
        output=args.output,
        overrides=tuple(args.overrides),
    )


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in names:
        raise ConfigError(f"got {option} {text!r}, expected names separated by commas")
    return names


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    names = _names(option, text)
    if names and not all(name.isdecimal() for name in names):
        raise ConfigError(f"got {option} {text!r}, expected whole numbers separated by commas")
    return names and tuple(map(int, names))
