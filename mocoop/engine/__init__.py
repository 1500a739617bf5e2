"""The one door to the training engine: Dassl where it is installed, else our own `lite`.

Everything else in the project imports the engine from here and knows no other. What carries identity (registries, base
classes, the config's defaults) comes from the chosen engine, so that trainers land in its registry; pure functions are
always ours, so that both engines compute the same numbers on any current torch.
"""

from functools import partial
from typing import TYPE_CHECKING

from mocoop.engine.backend import EngineError, choose_backend, import_dassl
from mocoop.engine.lite.data import (
    DatasetWrapper,
    ReadableErrorsLoader,
    build_transform,
    plain_transform,
    settle_workers,
)

BACKEND = choose_backend()

if TYPE_CHECKING or BACKEND == "lite":  # type checkers know the engines by ours
    from mocoop.engine.lite.config import get_cfg_default
    from mocoop.engine.lite.data import DataManager
    from mocoop.engine.lite.registry import DATASET_REGISTRY, TRAINER_REGISTRY, DatasetBase, Datum, build_trainer
    from mocoop.engine.lite.trainer import TrainerX
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
