"""Many short runs in a few warm workers: what memory they hold, what a run costs beside its training and test, and
whether its results are those of a process of its own, to the bit.

python -m benchmarks.soak                          200 runs in two workers, 10 of them compared
python -m benchmarks.soak --runs 12 --alone 2

The process of one run is killed in its first try, and one run asks for more memory than there is: no other may notice.
"""

import argparse
import logging
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from mocoop.checkout import find_checkout, program
from mocoop.errors import DataError
from mocoop.protocols.execute import run_all
from mocoop.protocols.plan import Run
from mocoop.results.record import FILE_NAME, read_record
from mocoop.shapes.sets import ShapesSet
from mocoop.shapes.writer import write_set

METHODS = ("CoOp", "CoCoOp", "MoCoOp")
SHORT = (
    "DATASET.NUM_SHOTS 1 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 1 OPTIM.WARMUP_EPOCH -1 "
    "DATALOADER.TRAIN_X.BATCH_SIZE 4 DATALOADER.TEST.BATCH_SIZE 8"
).split()
SAME = ("weights_sha256", "metrics", "per_class", "config_sha256", "manifest_sha256", "zero_shot", "routing")
FAULTY = """
import os, signal
from pathlib import Path
from mocoop.methods import register_method
from mocoop.methods.coop import CoOp

KEYS = CoOp.entry.keys

@register_method("Crashes", published="2999-01", title="is killed once", node="CRASHES", keys=KEYS)
class Crashes(CoOp):
    def loss(self, image, label):
        mark = Path(self.cfg.OUTPUT_DIR, "crashed")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(image, label)

@register_method("Hungry", published="2999-01", title="asks for too much", node="HUNGRY", keys=KEYS)
class Hungry(CoOp):
    def loss(self, image, label):
        bytearray(1 << 60)
"""


class Notes(logging.Handler):
    """What a pool of workers says of each run: seconds, and the megabytes that its worker holds after it."""

    def __init__(self, every: int):
        super().__init__(logging.DEBUG)
        self.every, self.seconds = every, dict[str, float]()
        self.held: dict[str, list[float]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        found = re.fullmatch(r"(.*): (\S+) s; worker (\d+) holds (\d+) MB", record.getMessage())
        if found is None:
            return
        self.seconds[found[1]] = float(found[2])
        self.held[found[3]].append(float(found[4]))
        if len(self.seconds) % self.every == 0:
            held = ", ".join(f"worker {number} {held[-1]:.0f} MB" for number, held in self.held.items())
            print(f"{len(self.seconds):4} runs: {held}", flush=True)


def plan(count: int, folder: Path) -> list[Run]:
    """Runs of a second each, of several methods; one that crashes and one that runs out of memory."""
    faults = {count // 3: "Crashes", count // 2: "Hungry"}
    return [_run(folder, faults.get(number) or METHODS[number % len(METHODS)], number) for number in range(count)]


def _run(folder: Path, method: str, seed: int) -> Run:
    name = f"{folder}/output/base2new/train_base/shapes_both/shots_1/{method}/tiny/seed{seed}"
    config = method if method in METHODS else "CoOp"
    argv = ["--root", f"{folder}/data", "--seed", str(seed), "--trainer", method, "--plugin", f"{folder}/faulty.py"]
    argv += ["--dataset-config-file", "configs/datasets/shapes_both.yaml", "--output-dir", name]
    argv += ["--config-file", f"configs/trainers/{config}/tiny.yaml", *SHORT]
    return Run(name, seed, tuple(argv))


def write_inputs(folder: Path) -> None:
    """A few images, of ten classes in place of ShapesBoth's, and the methods that fail."""
    write_set(ShapesSet("ShapesBoth", "conflict", seed=3, train=2, val=1, test=4), folder / "data/shapes_both")
    (folder / "faulty.py").write_text(FAULTY)


def soak(count: int, workers: int, alone: int, every: int, folder: Path) -> list[str]:
    """Runs them; one line for each thing that is not as it should be."""
    checkout, notes = find_checkout(), Notes(every)
    write_inputs(folder)
    runs = plan(count, folder)
    pool = logging.getLogger("mocoop.protocols.execute")
    pool.setLevel(logging.DEBUG)
    pool.addHandler(notes)
    try:
        outcome = run_all(runs, checkout, (None,) * workers)
    finally:
        pool.removeHandler(notes)
    problems = [f"{run.name}: {reason}" for run, reason in outcome.failed.items() if "/Hungry/" not in run.name]
    if not any("out of memory" in reason for reason in outcome.failed.values()):
        problems.append("no run ran out of memory")
    if not any(Path(run.folder, "crashed").exists() for run in runs):
        problems.append("no run crashed")
    done = [run for run in runs if run not in outcome.failed]
    compared = [run for run in done if "/Crashes/" in run.name] + done[-1 :: -max(1, len(done) // alone)]
    for run in compared[:alone]:
        other = elsewhere(run, folder)
        subprocess.run(
            [sys.executable, *program(checkout), *other.argv], cwd=checkout, capture_output=True, check=False
        )
        problems += differences(run, other)
    _summarise(notes, done, len(compared[:alone]))
    return problems


def _summarise(notes: Notes, done: list[Run], compared: int) -> None:
    own = {run.name: sum(read_record(Path(run.folder, FILE_NAME))["seconds"].values()) for run in done}
    beside = [notes.seconds[name] - seconds for name, seconds in own.items() if name in notes.seconds]
    print(f"a run beside its training and test: {statistics.median(beside):.2f} s (median), {compared} compared")
    for number, held in notes.held.items():
        print(f"worker {number}: {len(held)} runs, {held[0]:.0f} MB after the first, {max(held):.0f} MB at most")


def elsewhere(run: Run, folder: Path) -> Run:
    """The same command in another folder, where it does not crash."""
    other = run.folder.replace(f"{folder}/output", f"{folder}/alone")
    Path(other).mkdir(parents=True)
    Path(other, "crashed").touch()
    return replace(run, folder=other, argv=tuple(other if word == run.folder else word for word in run.argv))


def differences(run: Run, other: Run) -> list[str]:
    """What differs between two runs of one command."""
    try:
        one, two = (read_record(Path(each.folder, FILE_NAME)) for each in (run, other))
        wrong = [field for field in SAME if one[field] != two[field]]
        files = [Path(each.folder, "predictions.csv").read_bytes() for each in (run, other)]
    except (DataError, KeyError, OSError) as error:
        return [f"{run.name}: cannot be compared: {type(error).__name__}: {error}"]
    return [f"{run.name}: {name} differs" for name in wrong + ["predictions.csv"] * (files[0] != files[1])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--alone", type=int, default=10, help="runs that are compared (default: %(default)s)")
    parser.add_argument("--every", type=int, default=10, help="runs between two lines (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = soak(args.runs, args.workers, args.alone, args.every, Path(folder))
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
