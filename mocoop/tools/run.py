"""Runs a whole protocol, on this machine or a cluster, and ends in its tables and figures.

mocoop run base2new --datasets shapes_both --seeds 1,2,3             base to new, the four methods of the paper
mocoop run base2new --methods CoOp,Mine --plugin mine.py             with a method of one's own
mocoop run few_shot --methods CoOp,MoCoOp --datasets caltech101      1, 2, 4, 8 and 16 shots
mocoop run dg --source imagenet --jobs 2                             train on the source, test on its variants
mocoop run base2new --gpus 0,1,2,3                                   a run on each GPU; --jobs-per-gpu 2: two
mocoop run base2new --slurm gpu --time 4:00:00 --parallel 32         as SLURM's jobs; Ctrl-C leaves them
mocoop run base2new --estimate                                       hours, and the wall time of N workers
mocoop run base2new --list; mocoop run base2new --index 17           the plan; one run of it, for any scheduler
mocoop run base2new --datasets dtd --dry-run                         print the commands of train.py
mocoop run base2new --datasets dtd -- OPTIM.LR 0.01                  KEY VALUE overrides for train.py

PROTOCOL is base2new, base2new_all, few_shot, xd (cross_dataset) or dg (domain_generalization). The runs are those of
scripts/<protocol>.sh, in the same folders, and the scripts' environment variables count where an option is not given.
What has finished is not run again; the same command resumes what was interrupted, and takes over the jobs that SLURM
still has in hand. `mocoop status OUTPUT` says how far it is.
"""

import argparse
import logging
import os
import re
import sys
import time
from pathlib import Path

from mocoop.checkout import find_checkout, program
from mocoop.console import kept_console
from mocoop.errors import ConfigError, MocoopError
from mocoop.protocols.configs import COMPARED
from mocoop.protocols.execute import run_all, visible_gpus
from mocoop.protocols.plan import Request, Run, commands, dry_run, find_protocol, indexed, plan_runs
from mocoop.protocols.schedule import Outcome, Times, estimate
from mocoop.protocols.slurm import Cluster, run_on_slurm
from mocoop.registry import listed
from mocoop.tools._arguments import PROTOCOL_NAMES, Names, Numbers

TAKES_OVERRIDES = True
# With their defaults, and with the least that numbers may be.
OF_SLURM = {"time": "4:00:00", "gpus_per_run": 1, "parallel": 32, "runs_per_job": 1, "slurm_option": []}
OF_GPUS = {"jobs_per_gpu": 1}
LEAST = {"jobs": 1, "jobs_per_gpu": 1, "parallel": 1, "runs_per_job": 1, "retries": 0, "gpus_per_run": 0}

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    compared = f"or all (default: {','.join(COMPARED)})"
    parser.add_argument("protocol", type=find_protocol, metavar="PROTOCOL", help=PROTOCOL_NAMES)
    parser.add_argument("--methods", action=Names, metavar="A,B", default=COMPARED, help=compared)
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="Python file that registers methods; repeatable"
    )
    datasets = "configs/datasets/*.yaml (default: those of the papers)"
    parser.add_argument("--datasets", action=Names, default=(), metavar="A,B", help=datasets)
    parser.add_argument("--seeds", action=Numbers, default=(), metavar="N,M", help="default: 1,2,3")
    shots = "images a class (default: 16; of few_shot 1,2,4,8,16)"
    parser.add_argument("--shots", action=Numbers, default=(), metavar="N,M", help=shots)
    parser.add_argument("--cfg", help="configuration of the methods (default: the published one for each dataset)")
    parser.add_argument("--source", help="dataset to train on, for xd and dg (default: imagenet)")
    parser.add_argument("--data", metavar="DIR", help="data root (default: data)")
    parser.add_argument("--output", metavar="DIR", help="folder of the results (default: output)")
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="tries more for a run that fails")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time on the cores (default: 1)")
    where.add_argument("--gpus", action=Names, default=(), metavar="A,B", help="GPUs, a run on each at a time")
    where.add_argument("--slurm", metavar="PARTITION", help="run as jobs of SLURM (pip install submitit)")
    parser.add_argument("--jobs-per-gpu", type=int, metavar="N", help="runs at a time on each of --gpus")
    slurm = parser.add_argument_group("with --slurm")
    slurm.add_argument("--time", help="of a job, which goes on in another one (default: %(default)s)")
    slurm.add_argument("--gpus-per-run", type=int, metavar="N", help="GPUs of a job (default: 1)")
    slurm.add_argument("--parallel", type=int, metavar="N", help="jobs of an array at a time (default: 32)")
    several = "runs one after another in a job, where they are short (default: 1)"
    slurm.add_argument("--runs-per-job", type=int, metavar="N", help=several)
    slurm.add_argument("--slurm-option", action="append", metavar="KEY=VALUE", help="option of sbatch; repeatable")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    instead.add_argument("--list", action="store_true", help="print the plan, an index for each run, and run nothing")
    instead.add_argument("--index", type=int, metavar="I", help="run the run of this index in the plan, and no other")
    instead.add_argument("--estimate", action="store_true", help="print how long it takes, by runs done so far")
    parser.set_defaults(**OF_SLURM, **OF_GPUS)
    parser.usage = f"{parser.prog} PROTOCOL [OPTION ...] [-- KEY VALUE ...]"


def run(args: argparse.Namespace) -> int:
    """Runs what is not finished, then prints and writes the tables; 1 where a run failed, 130 on Ctrl-C."""
    with kept_console():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    started, checkout = time.monotonic(), find_checkout()
    _check_numbers(args)
    dry = args.dry_run or dry_run()
    runs = plan_runs(_request(args), checkout, with_data=not (dry or args.list or args.estimate))
    if dry or args.list or args.estimate:
        lines = commands(runs, checkout) if dry else indexed(runs, checkout)
        if args.estimate:
            lines = estimate(runs, checkout, args.parallel if args.slurm else len(_devices(args)))
        print("\n".join(lines))
        return 0
    if args.index is not None:
        return _run_one(runs, args.index, checkout)
    try:
        outcome = _execute(runs, checkout, args)
    except KeyboardInterrupt:
        left = "the jobs go on, as mocoop status shows" if args.slurm else "interrupted"
        print(f"{left}; run the same command to resume", file=sys.stderr)
        return 130
    problems = outcome.lines(checkout)
    try:
        from mocoop.protocols.products import finish  # what draws is slow to import, and needed only here

        folder = finish(args.protocol, runs, outcome.lacking(), checkout)
        logger.info("Tables, runs, figures and report: %s (%.0f s)", folder, time.monotonic() - started)
    except (MocoopError, OSError) as error:
        from mocoop.training.interruptions import explain  # brings torch along

        if (reason := explain(error)) is None:
            raise
        problems.append(f"failed: tables: {reason}")
    finally:
        for line in problems:
            logger.error("%s", line)
    return 1 if problems else 0


def _execute(runs: list[Run], checkout: Path, args: argparse.Namespace) -> Outcome:
    seconds = Times(runs, checkout)
    if args.slurm:
        options = dict(_option(text) for text in args.slurm_option)
        numbers = (_minutes(args.time), args.gpus_per_run, args.parallel, args.runs_per_job)
        cluster = Cluster(args.slurm, *numbers, options)
        return run_on_slurm(runs, checkout, cluster, args.retries, seconds)
    memory = visible_gpus(args.gpus)
    if absent := [name for name in args.gpus if name not in memory]:
        raise ConfigError(f"got --gpus {absent[0]}, which this machine does not have")
    return run_all(runs, checkout, _devices(args), args.retries, seconds, memory)


def _run_one(runs: list[Run], index: int, checkout: Path) -> int:
    """Becomes train.py, so that signals and its status are its own. Raises ConfigError if its model is not there."""
    if not 0 <= index < len(runs):
        raise ConfigError(f"got --index {index}, expected 0 to {len(runs) - 1}, as --list shows them")
    run = runs[index]
    for number, other in enumerate(runs):
        if other.folder == run.model and not other.finished(checkout):
            raise ConfigError(f"run {index} needs the model of run {number}, {other.name}, which is not done")
    os.chdir(checkout)
    os.execv(sys.executable, [sys.executable, *program(checkout), *run.argv])


def _devices(args: argparse.Namespace) -> list[str | None]:
    """For each run at a time its GPU, or None for a share of the cores."""
    return args.gpus * args.jobs_per_gpu if args.gpus else [None] * args.jobs


def _check_numbers(args: argparse.Namespace) -> None:
    for needed, options in (("slurm", OF_SLURM), ("gpus", OF_GPUS)):
        for name, default in options.items():
            if not getattr(args, needed) and getattr(args, name) != default:
                raise ConfigError(f"got --{name.replace('_', '-')} without --{needed}, which it is for")
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"got {option} {getattr(args, name)}, expected {least} or more")


def _minutes(text: str) -> int:
    """Minutes of a time as SLURM writes it: minutes, hours:minutes:seconds, days-hours and so on."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise ConfigError(f"got --time {text!r}, expected a time such as 4:00:00, 90 (minutes) or 2-12:00:00")
    days, parts = int(match[1] or 0), [int(part) for part in match.groups()[1:] if part]
    hours, minutes, seconds = [*parts, 0, 0][:3] if match[1] or len(parts) == 3 else [0, *parts, 0][:3]
    return max(1, (days * 24 + hours) * 60 + minutes + (seconds > 0))


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"got --slurm-option {text!r}, expected KEY=VALUE, such as cpus-per-task=8")
    return key.lstrip("-"), value


def _request(args: argparse.Namespace) -> Request:
    plugins = tuple(args.plugin)
    return Request(
        protocol=args.protocol,
        methods=tuple(listed(plugins) if args.methods == ["all"] else args.methods),
        plugins=plugins,
        datasets=tuple(args.datasets),
        seeds=tuple(args.seeds),
        shots=tuple(args.shots),
        cfg=args.cfg or "",
        source=args.source or "",
        data=args.data or "",
        output=args.output or "",
        overrides=tuple(args.overrides),
    )
