"""Small runs of each method on Shapes, trained once per test session, for what is done with a trained run."""

import json
import logging
from functools import cache
from pathlib import Path

import train
from mocoop.catalog import listed
from mocoop.engine import build_trainer
from mocoop.shapes.sets import SETS
from mocoop.shapes.writer import ensure_set
from mocoop.training import run_command
from mocoop.training.seeding import set_random_seed
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
}
METHODS |= {name.lower(): (name, [], []) for name, m in listed().items() if m.learns and name.lower() not in METHODS}
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "1"]
SPLIT, TEST_IMAGES = "split_zhou_ShapesBoth.json", 4
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


class TrainedRuns:
    """Folders of runs by name; a run is trained when it is first asked for.

    Attributes:
        data_root: of the runs: Shapes with TEST_IMAGES test images a class.
        whole_root: of the whole set, with 25.
    """

    def __init__(self, whole_root: Path, folder: Path):
        self.whole_root, self.folder = whole_root, folder
        self.of = cache(self._train)
        self.trainer = cache(self._trainer)
        self.data_root = folder / "data"
        self._reduce("shapes_both")

    def _reduce(self, name: str) -> None:
        whole, reduced = self.whole_root / name, self.data_root / name
        ensure_set(SETS["ShapesBoth"], whole)
        reduced.mkdir(parents=True)
        for shared in ("images", "about.json", "metadata.csv"):
            (reduced / shared).symlink_to(whole / shared)
        split = json.loads((whole / SPLIT).read_text(encoding="utf-8"))
        split["test"] = [row for row in split["test"] if int(row[0][-6:-4]) < TEST_IMAGES]
        (reduced / SPLIT).write_text(json.dumps(split), encoding="utf-8")

    def _train(self, name: str) -> Path:
        out = self.folder / name
        assert train.main(arguments(self.data_root, out, name)) == 0
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
