"""The checkout: the folder with train.py, trainers/ and datasets/, which are used in place and never installed."""

import importlib
import sys
from pathlib import Path

from mocoop.errors import ConfigError

MARKS = ("train.py", "trainers/__init__.py", "datasets/__init__.py", "configs/datasets")


def find_checkout(start: Path | None = None) -> Path:
    """The checkout that `start` (default: the current folder) is in, or the one this library runs from.

    Raises ConfigError when there is none.
    """
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents, Path(__file__).absolute().parents[1]):
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    raise ConfigError(
        f"{start} is in no checkout of this project (a folder with train.py, trainers/ and datasets/); change "
        "into one and run the command again"
    )


def import_datasets():
    """Import the checkout's `datasets`, which registers them, and return the registry."""
    from mocoop.engine import DATASET_REGISTRY

    checkout = str(find_checkout())
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
    package = importlib.import_module("datasets")
    if not hasattr(package, "__path__") or Path(list(package.__path__)[0]).parent != Path(checkout):
        raise ConfigError(
            f"the package datasets of {package.__path__} is in the way of {checkout}/datasets; run the command "
            "in the checkout"
        )
    return DATASET_REGISTRY
