"""Small runs on Shapes, trained once per test session, for what is done with a trained run.

Runs of every method that take about a second each are in tests/faults/runs.py.
"""

import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import train
from mocoop.engine import build_trainer
from mocoop.shapes.sets import SETS
from mocoop.shapes.writer import ensure_set
from mocoop.training import run_command
from mocoop.training.run_state import set_random_seed
from tests.shipped import small_config

ROOT = Path(__file__).parents[1]
VIT = ["--backbone", "tiny-vit"]
METHODS = {  # name of the run: (trainer, flags, overrides)
    "zeroshot": ("ZeroshotCLIP", [], []),
    "coop": ("CoOp", [], []),
    "coop-csc": ("CoOp", [], ["TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", ""]),
    "cocoop": ("CoCoOp", [], []),
    "mocoop": ("MoCoOp", [], []),
    "mocoop-vit": ("MoCoOp", VIT, ["OPTIM.LR", "0.05"]),  # tunes the image tower's LayerNorms too
    "mocoop-random": ("MoCoOp", [], ["TRAINER.MOCOOP.ROUTER", "random"]),
    "mmrl": ("MMRL", [], []),
}
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "1"]
SPLIT = "split_zhou_ShapesBoth.json"
LEARNS = ["OPTIM.WARMUP_EPOCH", "-1"]  # so that one epoch moves the weights


def arguments(data_root, out, name: str, *flags: str, dataset: str = "shapes_both") -> list[str]:
    """train.py's command line of a run."""
    trainer, own_flags, overrides = METHODS[name]
    files = ["--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml")]
    files += ["--config-file", str(small_config(trainer))]
    named = ["--root", str(data_root), "--seed", "1", "--trainer", trainer, "--output-dir", str(out)]
    return [*named, *files, *own_flags, *flags, *FEW, *LEARNS, *overrides]


def forget_print_handler() -> None:
    """Undo what train.py does to the library's log: its lines would mix with what tools print."""
    package = logging.getLogger("mocoop")
    for handler in [handler for handler in package.handlers if isinstance(handler, run_command.PrintHandler)]:
        package.removeHandler(handler)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Several processes of one test run make things once: the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def reduced_root(whole_root: Path, root: Path, test_images: int) -> Path:
    """A data root with ShapesBoth of the whole one, of which some test images a class are left."""
    whole, reduced = whole_root / "shapes_both", root / "shapes_both"
    with one_at_a_time(root.with_suffix(".lock")):
        if (reduced / SPLIT).exists():
            return root
        ensure_set(SETS["ShapesBoth"], whole)
        reduced.mkdir(parents=True)
        for name in ("images", "about.json", "metadata.csv"):
            (reduced / name).symlink_to(whole / name)
        split = json.loads((whole / SPLIT).read_text(encoding="utf-8"))
        split["test"] = [row for row in split["test"] if int(row[0][-6:-4]) < test_images]
        (reduced / SPLIT).write_text(json.dumps(split), encoding="utf-8")
    return root


class TrainedRuns:
    """Folders of runs by name; a run is trained when it is first asked for, once for all processes of a test run.

    Attributes:
        data_root: of the runs: Shapes with four test images a class.
        whole_root: of the whole set, with 25.
        folder: of what is this process's own.
    """

    def __init__(self, whole_root: Path, shared: Path, folder: Path):
        self.whole_root, self.shared, self.folder = whole_root, shared, folder
        self.of = cache(self._train)
        self.trainer = cache(self._trainer)
        self.data_root = reduced_root(whole_root, shared / "data", test_images=4)

    def _train(self, name: str) -> Path:
        out = self.shared / name
        with one_at_a_time(self.shared / f"{name}.lock"):
            assert train.main(arguments(self.data_root, out, name)) == 0  # at once if it is finished
            forget_print_handler()
        return out

    def _trainer(self, name: str):
        """A trainer that has loaded the run's weights, with the run's test images."""
        folder = self.of(name)
        argv = arguments(self.data_root, self.folder / f"{name}-evaluated", name, "--eval-only")
        cfg = run_command.setup_cfg(train.parse_args(argv))
        set_random_seed(1)
        trainer = build_trainer(cfg)
        trainer.load_model(str(folder))
        trainer.model.eval()
        return trainer
