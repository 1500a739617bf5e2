"""Small runs of each method on Shapes, trained once per test session, for what is done with a trained run."""

import logging
from functools import cache
from pathlib import Path

import train
from mocoop.engine import build_trainer, set_random_seed

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
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "1"]
LEARNS = ["OPTIM.WARMUP_EPOCH", "-1"]  # so that one epoch moves the weights


def arguments(data_root, out, name: str, *flags: str, dataset: str = "shapes_both") -> list[str]:
    """train.py's command line of a run."""
    trainer, own_flags, overrides = METHODS[name]
    files = ["--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml")]
    files += ["--config-file", str(ROOT / f"configs/trainers/{trainer}/tiny.yaml")]
    named = ["--root", str(data_root), "--seed", "1", "--trainer", trainer, "--output-dir", str(out)]
    return [*named, *files, *own_flags, *flags, *FEW, *LEARNS, *overrides]


def forget_print_handler() -> None:
    """Undo what train.py does to the library's log: its lines would mix with what tools print."""
    package = logging.getLogger("mocoop")
    for handler in [handler for handler in package.handlers if isinstance(handler, train.PrintHandler)]:
        package.removeHandler(handler)


class TrainedRuns:
    """Folders of runs by name; a run is trained when it is first asked for."""

    def __init__(self, data_root, folder):
        self.data_root, self.folder = data_root, folder
        self.of = cache(self._train)
        self.trainer = cache(self._trainer)

    def _train(self, name: str) -> Path:
        out = self.folder / name
        assert train.main(arguments(self.data_root, out, name)) == 0
        forget_print_handler()
        return out

    def _trainer(self, name: str):
        """A trainer that has loaded the run's weights, with the run's test images."""
        folder = self.of(name)
        argv = arguments(self.data_root, self.folder / f"{name}-evaluated", name, "--eval-only")
        cfg = train.setup_cfg(train.parse_args(argv))
        set_random_seed(1)
        trainer = build_trainer(cfg)
        trainer.load_model(str(folder))
        trainer.set_model_mode("eval")
        return trainer
