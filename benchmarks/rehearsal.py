"""Rehearses a whole base-to-new table: where the time goes, per run and in all, and how long the true one takes.

python -m benchmarks.rehearsal --device cuda --scale 0.02              all eleven data sets, one seed, ViT-B/16's size
python -m benchmarks.rehearsal --scale 0.02 --epochs 1 --datasets dtd  a small CLIP on the cores
python -m benchmarks.rehearsal --checkout DIR ...                      the same plan by another tree first

It runs `mocoop run base2new` on data sets of the true shapes (benchmarks/rehearsal_data.py) with a CLIP of random
weights, without any features kept before. Of the true sizes the scale takes a share of test images and of shots (at
least one); classes, batches and epochs are the true ones, unless --epochs says otherwise.
"""

import argparse
import contextlib
import ctypes
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from benchmarks.common import machine
from benchmarks.rehearsal_data import CLIPS, SHAPES, make_clip, make_data
from mocoop.files import check_empty
from mocoop.protocols.configs import last_epoch
from mocoop.protocols.plan import Request, Run, plan_runs
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.training.loop import FIRST_STEPS

CHECKOUT = Path(__file__).absolute().parents[1]
SHOTS, SEEDS = 16, 3  # of the true table
METHODS = "ZeroshotCLIP,CoOp,CoCoOp,MoCoOp"
PARTS = ("start", "imports", "data", "CLIP", "hard prompts", "method", "first batch", "loader", "first steps")
PARTS += ("steps", "tests", "decoding", "kept features", "writing", "other")
BY_EPOCH, BY_STEP, BY_IMAGE = ("first batch",), ("loader", "steps"), ("tests", "decoding", "kept features")
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Rehearsed:
    """Seconds that a tree took: of the clock, of all processes, before the first run, after the last one."""

    wall: float
    cpu: float
    planning: float
    tables: float


def main() -> None:
    args = arguments()
    shots = max(1, round(SHOTS * args.scale))
    root = args.data or Path(tempfile.gettempdir()) / "mocoop-rehearsal" / f"scale_{args.scale}"
    clip = root / f"clip-{args.device}.safetensors"
    make_clip(clip, args.device)
    make_data(root, args.datasets, args.scale, shots)
    output = args.output or Path(tempfile.mkdtemp(prefix="mocoop-rehearsal-"))
    check_empty(output)
    request = plan(args, root, output / "now", clip, shots)
    print(f"{machine(args.device)}; CLIP {CLIPS[args.device]['vision_width']} wide; {args.workers} workers; {output}")
    trees = {"before": args.checkout.absolute()} if args.checkout else {}
    measured = {}
    for name, tree in (trees | {"now": CHECKOUT}).items():
        measured[name] = rehearse(tree, request, output / name, args)
        print(f"{name}: {measured[name].wall:.0f} s of the clock, {measured[name].cpu:.0f} s of the processor ({tree})")
    runs = plan_runs(request, CHECKOUT)
    report(runs, measured["now"], args)
    if args.checkout:
        print(compared(runs, output))
    if args.json:
        pd.Series({name: asdict(each) for name, each in measured.items()}).to_json(args.json, indent=1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", choices=sorted(CLIPS))
    parser.add_argument("--scale", type=float, default=0.05, help="of test images and shots (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="instead of those of the configurations")
    parser.add_argument("--methods", type=_words, default=_words(METHODS), help=f"default: {METHODS}")
    parser.add_argument("--datasets", type=_words, default=list(SHAPES), help="default: all eleven")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, all on one GPU (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default: one below the temporary folder)")
    parser.add_argument("--output", type=Path, help="empty folder of the results (default: a temporary one)")
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="another tree, to run the same plan first")
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="of the config, behind --")
    return parser.parse_args()


def plan(args: argparse.Namespace, root: Path, output: Path, clip: Path, shots: int) -> Request:
    """What `mocoop run` is asked for."""
    overrides = ["MODEL.BACKBONE.NAME", str(clip), *args.overrides]
    if args.epochs:
        overrides += ["OPTIM.MAX_EPOCH", str(args.epochs), "OPTIM.WARMUP_EPOCH", str(min(1, args.epochs - 1))]
    return Request(
        protocol="base2new",
        methods=tuple(args.methods),
        datasets=tuple(args.datasets),
        seeds=tuple(range(1, args.seeds + 1)),
        shots=(shots,),
        data=str(root.absolute()),
        output=str(output.absolute()),
        overrides=tuple(overrides),
    )


def rehearse(tree: Path, request: Request, output: Path, args: argparse.Namespace) -> Rehearsed:
    """Run the plan with the code of a tree, without features of earlier runs."""
    words = [sys.executable, "-m", "mocoop.cli", "run", request.protocol, "--methods", ",".join(request.methods)]
    words += ["--datasets", ",".join(request.datasets), "--seeds", ",".join(map(str, request.seeds))]
    words += ["--shots", ",".join(map(str, request.shots)), "--data", request.data, "--output", str(output)]
    if args.device == "cuda":
        words += ["--gpus", "0", "--jobs-per-gpu", str(args.workers)]
    else:
        words += ["--jobs", str(args.workers)]
    environment = os.environ | {"PYTHONPATH": str(tree), "MOCOOP_CACHE": str(output / "cache")}
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # so that the time of workers' workers is counted too
    started, before = time.time(), _processor_seconds()
    done = subprocess.run([*words, "--", *request.overrides], cwd=tree, env=environment)
    ended = time.time()
    _wait_for_orphans()
    if done.returncode:
        sys.exit(f"mocoop run of {tree} ended with status {done.returncode}")
    records = [path for path in output.rglob("result.json")]
    first = min(path.stat().st_mtime - sum((read_record(path).get("timings") or {}).values()) for path in records)
    last = max(path.stat().st_mtime for path in records)
    return Rehearsed(ended - started, _processor_seconds() - before, max(0.0, first - started), ended - last)


def report(runs: list[Run], measured: Rehearsed, args: argparse.Namespace) -> None:
    """Print the seconds of each run, the parts in all, and the hours of the whole table."""
    records = {run: read_record(CHECKOUT / run.folder / "result.json") for run in runs}
    rows = pd.DataFrame({run.name: record["timings"] or {} for run, record in records.items()}).T
    rows = rows.reindex(columns=PARTS).fillna(0.0)
    full = pd.DataFrame({run.name: at_full_size(run, record, args) for run, record in records.items()}).T
    full = full.reindex(columns=PARTS).fillna(0.0) * SEEDS / args.seeds
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.max_rows", None):
        shown = rows.assign(total=rows.sum(axis=1))
        shown.index = ["/".join(name.split("/")[i] for i in (1, 2, 4, 6)) for name in rows.index]
        print(shown.round(2).to_string())
        kinds = shown.groupby([f"{name.split('/')[2]} {name.split('/')[0]}" for name in shown.index]).mean()
        print(f"\nmean of a run, by method and phase\n{kinds.round(2).to_string()}")
        print(f"\nin all\n{in_all(rows, full, measured, args).to_string()}")
    hours, sets = full.to_numpy().sum() / 3600, f"{len(args.datasets)} of the 11 data sets"
    print(f"\nthe whole table, {sets}, {SEEDS} seeds, {SHOTS} shots: {hours:.2f} hours of one worker, by these parts")


def in_all(rows: pd.DataFrame, full: pd.DataFrame, measured: Rehearsed, args: argparse.Namespace) -> pd.DataFrame:
    """Seconds of each part, and of the workers without a run, with their share; and hours at full size."""
    seconds = rows.sum()
    busy = measured.wall - measured.planning - measured.tables
    seconds["idle workers"] = max(0.0, args.workers * busy - seconds.sum())
    seconds["planning"], seconds["tables"] = measured.planning, measured.tables
    table = pd.DataFrame(
        {"seconds": seconds, "share %": 100 * seconds / seconds.sum(), "of a run": seconds / len(rows)}
    )
    table["hours at full size"] = full.sum() / 3600
    return table.round(3)


def at_full_size(run: Run, record: dict, args: argparse.Namespace) -> dict[str, float]:
    """The seconds of a run's parts with all test images, shots and epochs, if each grows with what it is made of."""
    shape, (dataset, config) = SHAPES[Path(run.folder).parts[-5]], (run.argv, record["config"])
    images = shape.test / shape.test_images(args.scale)
    factors = dict.fromkeys(BY_IMAGE, images)
    history = CHECKOUT / run.folder / "history.csv"
    if run.model is None and history.is_file():
        measured = max(0, len(history.read_text().splitlines()) - 1 - FIRST_STEPS)
        true_epochs = int(last_epoch(CHECKOUT, dataset[dataset.index("--config-file") + 1], ()) or 0)
        loaded, size = record["num_classes"] * SHOTS, config["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"]
        factors |= dict.fromkeys(BY_STEP, (true_epochs * max(1, loaded // size) - FIRST_STEPS) / (measured or math.nan))
        factors |= dict.fromkeys(BY_EPOCH, true_epochs / config["OPTIM"]["MAX_EPOCH"])
    return {part: seconds * factors.get(part, 1.0) for part, seconds in (record["timings"] or {}).items()}


def compared(runs: list[Run], output: Path) -> str:
    """How far the results of both trees agree."""
    lines, same, learned, worst, farthest = [], 0, [], 0.0, 0.0
    for run in runs:
        folders = [output / tree / run.name for tree in ("before", "now")]
        records = [read_record(folder / "result.json") for folder in folders]
        if run.model is None and records[1].get("weights_sha256"):
            learned.append(records[0].get("weights_sha256") == records[1]["weights_sha256"])
        before, now = (folder / "predictions.csv" for folder in folders)
        if before.read_bytes() == now.read_bytes():
            same += 1
            continue
        accuracies = [record["metrics"]["accuracy"] for record in records]
        distance = (read_predictions(before)["confidence"] - read_predictions(now)["confidence"]).abs().max()
        worst, farthest = max(worst, abs(accuracies[0] - accuracies[1])), max(farthest, distance)
        shown = " and ".join(f"{accuracy:.2f}" for accuracy in accuracies)
        lines.append(f"{run.name}: accuracy {shown}, confidences differ by up to {distance:.1e}")
    about = (
        f"{same} of {len(runs)} runs predict the same to the bit, {sum(learned)} of {len(learned)} learned the same; "
    )
    return "\n".join([f"{about}accuracies differ by up to {worst:.2f}, confidences by up to {farthest:.1e}", *lines])


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait_for_orphans() -> None:
    """Loader workers of workers that were ended are ours now."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _words(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
