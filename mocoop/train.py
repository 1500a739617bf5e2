"""The program behind `python train.py` of a checkout and `mocoop train`: CoOp's flags, and what is done with them."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

from mocoop.errors import MocoopError
from mocoop.timings import timed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CoOp's flags, then KEY VALUE overrides."""
    parser.add_argument("--root", default="", help="folder that holds the datasets")
    parser.add_argument("--output-dir", default="", help="folder of this run's log, checkpoints and result")
    parser.add_argument("--resume", default="", help="folder of the run whose last checkpoint training resumes from")
    parser.add_argument("--seed", type=int, default=-1, help="fixed seed, 0 counts; negative: none")
    parser.add_argument("--source-domains", nargs="+", help="source domains of a multi-domain dataset")
    parser.add_argument("--target-domains", nargs="+", help="target domains of a multi-domain dataset")
    parser.add_argument("--transforms", nargs="+", help="data augmentation, replaces INPUT.TRANSFORMS")
    parser.add_argument("--config-file", default="", help="yaml of the method, merged after the dataset's")
    parser.add_argument("--dataset-config-file", default="", help="yaml of the dataset")
    parser.add_argument("--trainer", default="", help="name of the trainer, e.g. MoCoOp")
    parser.add_argument("--backbone", default="", help="CLIP: an OpenAI name, a file, tiny or tiny-vit")
    parser.add_argument("--head", default="", help="Dassl's MODEL.HEAD.NAME; no method here has a head")
    parser.add_argument("--eval-only", action="store_true", help="evaluate --model-dir, train nothing")
    parser.add_argument("--model-dir", default="", help="folder of the run to evaluate")
    parser.add_argument("--load-epoch", type=int, help="epoch of the checkpoint to evaluate")
    parser.add_argument("--no-train", action="store_true", help="build everything, train nothing")
    parser.add_argument("--plugin", action="append", default=[], help="Python file that registers a method; repeatable")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides of the config")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train or evaluate a prompt-learning method, with CoOp's flags.")
    add_arguments(parser)
    return parser.parse_args(argv)


def load(checkout: Path | None = None) -> ModuleType:
    """The module that carries out command lines, with all datasets and trainers registered.

    They are those of the checkout that is given, else of the one that is found, else of the package. The import is
    done here since it takes seconds. Raises EngineError if the engine cannot be used.
    """
    from mocoop.checkout import find_checkout, import_datasets, is_checkout

    with timed("imports"):
        checkout = checkout or find_checkout()
        import_datasets(checkout)
        if is_checkout(checkout):
            importlib.import_module("trainers")
        return importlib.import_module("mocoop.training.run_command")


def main(argv: list[str] | None = None, checkout: Path | None = None) -> int:
    """Exit status: 0; 2 after one line on stderr that says what was wrong; 128 + signal if one stopped the run."""
    return run(parse_args(argv), checkout)


def run(args: argparse.Namespace, checkout: Path | None = None) -> int:
    """Carry out a parsed command line; the exit status is that of `main`."""
    from mocoop.checkout import find_config

    for name in ("config_file", "dataset_config_file"):
        if path := getattr(args, name):
            setattr(args, name, str(find_config(Path(), path)))
    try:
        run_command = load(checkout)
    except MocoopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run_command.execute(args)


if __name__ == "__main__":
    sys.exit(main())
