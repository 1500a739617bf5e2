"""The one door to the training engine: Dassl where it is installed, else our own `lite`, or what MOCOOP_ENGINE says.

Everything else in the project imports the engine from here and knows no other. What carries identity (registries, base
classes, the config's defaults) comes from the chosen engine, so that trainers land in its registry; pure functions are
always ours, so that both engines compute the same numbers on any current torch.
"""

import importlib
import importlib.util
import logging
import os
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from mocoop.engine.lite.data import (
    DatasetWrapper,
    ReadableErrorsLoader,
    build_transform,
    plain_transform,
    settle_workers,
)
from mocoop.errors import ConfigError, MocoopError

VARIABLE = "MOCOOP_ENGINE"
CHOICES = ("auto", "dassl", "lite")
DASSL_HOME = "https://github.com/KaiyangZhou/Dassl.pytorch"
OVERRIDE = f"{VARIABLE}=lite uses the built-in engine instead"


class EngineError(MocoopError, ImportError):
    """The engine that was asked for, or found, cannot be imported."""


def dassl_is_installed() -> bool:
    """Whether `import dassl` would find a package with a file. Nothing is imported; a bare folder does not count."""
    try:
        spec = importlib.util.find_spec("dassl")
    except ValueError:  # already imported, by something that left no spec
        return False
    return spec is not None and spec.origin is not None


def choose_backend() -> str:
    """The name of the engine, "dassl" or "lite".

    Raises ConfigError for an unknown MOCOOP_ENGINE, and EngineError if Dassl is asked for and absent.
    """
    wanted = os.environ.get(VARIABLE, "").lower() or "auto"
    if wanted not in CHOICES:
        raise ConfigError(f'{VARIABLE}: got "{wanted}", expected one of {", ".join(CHOICES)}')
    if wanted == "lite":
        return "lite"
    if dassl_is_installed():
        return "dassl"
    if wanted == "dassl":
        raise EngineError(f"{VARIABLE}=dassl, but Dassl is not installed; get it from {DASSL_HOME}, or {OVERRIDE}")
    return "lite"


def import_dassl(module: str) -> ModuleType:
    """Import a module of Dassl. Raises EngineError naming what it lacks: an installed Dassl is never passed over."""
    silenced = logging.root.manager.disable
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise EngineError(
            f'Dassl is installed but importing {module} failed: it needs the module "{missing}"; '
            f"pip install {missing.split('.')[0]} (Dassl's requirements.txt lists what it needs), or {OVERRIDE}"
        ) from error
    except Exception as error:
        raise EngineError(
            f"Dassl is installed but importing {module} failed with {type(error).__name__}: {error}; "
            f"fix that installation, or {OVERRIDE}"
        ) from error
    finally:
        logging.disable(silenced)  # one of Dassl's modules switches off the warnings of the whole process


BACKEND = choose_backend()

if TYPE_CHECKING or BACKEND == "lite":  # type checkers know the engines by ours
    from mocoop.engine.lite import TrainerX
    from mocoop.engine.lite.config import get_cfg_default
    from mocoop.engine.lite.data import DataManager
    from mocoop.engine.lite.registry import DATASET_REGISTRY, TRAINER_REGISTRY, DatasetBase, Datum, build_trainer
else:
    TRAINER_REGISTRY = import_dassl("dassl.engine").TRAINER_REGISTRY
    TrainerX = import_dassl("dassl.engine").TrainerX
    build_trainer = import_dassl("dassl.engine").build_trainer
    DataManager = partial(import_dassl("dassl.data").DataManager, dataset_wrapper=DatasetWrapper)  # reads as `lite`
    DATASET_REGISTRY = import_dassl("dassl.data.datasets").DATASET_REGISTRY
    DatasetBase = import_dassl("dassl.data.datasets").DatasetBase
    Datum = import_dassl("dassl.data.datasets").Datum
    get_cfg_default = import_dassl("dassl.config").get_cfg_default

__all__ = [
    "BACKEND",
    "DATASET_REGISTRY",
    "DataManager",
    "DatasetBase",
    "Datum",
    "EngineError",
    "ReadableErrorsLoader",
    "TRAINER_REGISTRY",
    "TrainerX",
    "build_trainer",
    "build_transform",
    "get_cfg_default",
    "plain_transform",
    "settle_workers",
]
