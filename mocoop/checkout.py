"""Where configs/, datasets/ and train.py are: in the checkout in use, or in the package as it was installed.

A checkout is used in place. A wheel carries a copy of configs/ and datasets/ below `SHIPPED`, where pyproject.toml puts
them: under a name of its own, so that it meets no other package called `datasets`. Without a checkout, paths start from
the current folder, and what its own configs/ lacks is taken from the copy.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mocoop.errors import ConfigError

if TYPE_CHECKING:
    from mocoop.engine.lite.registry import DatasetBase, Registry

LIBRARY = Path(__file__).absolute().parent
SHIPPED = LIBRARY / "_shipped"  # absent in a checkout
MARKS = ("train.py", "mocoop/__init__.py", "configs")


def is_checkout(folder: Path) -> bool:
    """Whether a folder is a checkout of this project."""
    return all((folder / mark).exists() for mark in MARKS)


def find_checkout(start: Path | None = None) -> Path:
    """The folder that the paths of runs start from.

    It is the checkout that `start` (default: the current folder) is in, else the one that this library runs from, else
    `start` itself.
    """
    start = (start or Path.cwd()).absolute()
    return next(filter(is_checkout, (start, *start.parents, LIBRARY.parent)), start)


def find_config(checkout: Path, path: str | Path) -> Path:
    """A file or folder of configs/ by its path from the checkout: the one there, else the one that was installed."""
    own, shipped = checkout / path, SHIPPED / path
    return shipped if shipped.exists() and not own.exists() else own


def config_names(checkout: Path, folder: str) -> list[str]:
    """What can be chosen in a folder of configs/: its folders, and its files without the ending .yaml."""
    places = (checkout / folder, SHIPPED / folder)
    return sorted({path.name.removesuffix(".yaml") for place in places for path in place.glob("*")})


def program(checkout: Path) -> list[str]:
    """What Python runs for a command line of train.py, in that folder."""
    return ["train.py"] if is_checkout(checkout) else ["-m", "mocoop.train"]


def import_datasets(checkout: Path | None = None) -> "Registry[DatasetBase]":
    """Import the datasets, of the checkout that is given or found or of the package, and return their registry.

    Raises ConfigError if another package called `datasets` has been imported before the checkout's.
    """
    from mocoop.engine import DATASET_REGISTRY

    checkout = checkout or find_checkout()
    if not is_checkout(checkout):
        importlib.import_module("mocoop._shipped.datasets")
        return DATASET_REGISTRY
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    package = importlib.import_module("datasets")
    if not hasattr(package, "__path__") or Path(list(package.__path__)[0]).parent != checkout:
        raise ConfigError(
            f"the package datasets of {getattr(package, '__path__', package)} is in the way of {checkout}/datasets; "
            "run the command in the checkout"
        )
    return DATASET_REGISTRY
