"""Times what is done with a plan of 2,000 runs, of which 500 have finished: planning, status, estimate, collection.

python -m benchmarks.many_runs                       records of 100 classes
python -m benchmarks.many_runs --classes 1000        of ImageNet's size
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mocoop.checkout import find_checkout
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg
from mocoop.protocols.plan import Request, Run, plan_runs
from mocoop.protocols.schedule import Times
from mocoop.protocols.status import add_to_queue
from mocoop.results.record import build_record, write_record
from mocoop.results.runs import collect

METHODS = ("ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp")
SEEDS = tuple(range(23))  # 4 methods x 11 datasets x 2 phases x 23 seeds are 2,024 runs


def write_result(run: Run, config, classes: int) -> None:
    """A record of true size where the run would leave it."""
    _, phase, dataset, shots, method, _, seed = run.name.split("/")
    config.merge_from_list(["SEED", int(seed[4:]), "TRAINER.NAME", method, "DATASET.NUM_SHOTS", int(shots[6:])])
    config.DATASET.SUBSAMPLE_CLASSES = {"train_base": "base", "test_new": "new"}[phase]
    row = {"classname": "a class of some name", "total": 50, "correct": 30, "accuracy": 60.0}
    measured = dict(epoch=50, selection="last_step", manifest_sha256="0" * 64, engine="lite", peak_memory_mb=1e3)
    seconds, metrics = {"train": 300.0, "test": 20.0}, {"accuracy": 60.0, "macro_f1": 59.0}
    per_class = [{"label": label, **row} for label in range(classes)]
    path = Path(run.folder) / "result.json"
    write_record(
        path, build_record(config, split="test", metrics=metrics, per_class=per_class, seconds=seconds, **measured)
    )


def timed(work) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, of this process and those that it starts."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - started, sum(os.times()[:4]) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--done", type=int, default=500, help="runs that have finished")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config, checkout = get_cfg_default(), find_checkout()
    extend_cfg(config)
    with tempfile.TemporaryDirectory() as folder:
        request = Request("base2new", METHODS, seeds=SEEDS, output=folder)
        runs = plan_runs(request, checkout, with_data=False)
        add_to_queue(runs, checkout)
        for run in runs[: args.done]:
            write_result(run, config, args.classes)
        status = [sys.executable, "-m", "mocoop.cli", "status", folder]
        seconds = {
            "planning": timed(lambda: plan_runs(request, checkout, with_data=False)),
            "what is done, what takes how long": timed(
                lambda: [Times(runs, checkout), *(r.finished(checkout) for r in runs)]
            ),
            "mocoop status, a process of its own": timed(
                lambda: subprocess.run(status, check=True, stdout=subprocess.DEVNULL)
            ),
            "collection of the finished": timed(lambda: collect(folder)),
        }
    print(f"{len(runs)} runs, {args.done} finished, {args.classes} classes{'s':>11}  CPU s")
    for name, (wall, processor) in seconds.items():
        print(f"{name:<36} {wall:12.2f} {processor:6.2f}")
    if args.json:
        args.json.write_text(
            json.dumps(
                {"runs": len(runs), "finished": args.done, "classes": args.classes, "seconds": seconds}, indent=1
            )
        )


if __name__ == "__main__":
    main()
