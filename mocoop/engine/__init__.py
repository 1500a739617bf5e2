"""The one door to the training engine: Dassl where it is installed, else our own `lite`.

Everything else in the project imports the engine from here and knows no other. What carries identity (registries, base
classes, the config's defaults) comes from the chosen engine, so that trainers land in its registry; pure functions are
always ours, so that both engines compute the same numbers on any current torch.
"""

from mocoop.engine.backend import EngineError, choose_backend, import_dassl
from mocoop.engine.lite.checkpoint import (
    BEST_MODEL,
    epoch_model,
    last_checkpoint,
    load_checkpoint,
    load_pretrained_weights,
    save_checkpoint,
    save_state,
)
from mocoop.engine.lite.environment import collect_env_info
from mocoop.engine.lite.files import (
    atomic_write,
    file_sha256,
    listdir_nohidden,
    mkdir_if_missing,
    read_json,
    remove_temporary_files,
    write_json,
)
from mocoop.engine.lite.image import open_image, read_image
from mocoop.engine.lite.logger import setup_logger
from mocoop.engine.lite.lr_scheduler import build_lr_scheduler
from mocoop.engine.lite.metrics import compute_accuracy
from mocoop.engine.lite.optim import build_optimizer
from mocoop.engine.lite.pickle_check import check_pickle
from mocoop.engine.lite.progress import Progress
from mocoop.engine.lite.seeding import random_state, restore_random_state, set_random_seed
from mocoop.engine.lite.torch_file import check_archive, check_torch_file
from mocoop.engine.lite.transforms import build_transform

BACKEND = choose_backend()

if BACKEND == "dassl":
    TRAINER_REGISTRY = import_dassl("dassl.engine").TRAINER_REGISTRY
    TrainerX = import_dassl("dassl.engine").TrainerX
    build_trainer = import_dassl("dassl.engine").build_trainer
    DataManager = import_dassl("dassl.data").DataManager
    DATASET_REGISTRY = import_dassl("dassl.data.datasets").DATASET_REGISTRY
    DatasetBase = import_dassl("dassl.data.datasets").DatasetBase
    Datum = import_dassl("dassl.data.datasets").Datum
    get_cfg_default = import_dassl("dassl.config").get_cfg_default
else:
    from mocoop.engine.lite.config import get_cfg_default
    from mocoop.engine.lite.data_manager import DataManager
    from mocoop.engine.lite.dataset import DATASET_REGISTRY, DatasetBase, Datum
    from mocoop.engine.lite.trainer import TrainerX
    from mocoop.engine.lite.trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = [
    "BACKEND",
    "BEST_MODEL",
    "DATASET_REGISTRY",
    "DataManager",
    "DatasetBase",
    "Datum",
    "EngineError",
    "Progress",
    "TRAINER_REGISTRY",
    "TrainerX",
    "atomic_write",
    "build_lr_scheduler",
    "build_optimizer",
    "build_trainer",
    "build_transform",
    "check_archive",
    "check_pickle",
    "check_torch_file",
    "collect_env_info",
    "compute_accuracy",
    "epoch_model",
    "file_sha256",
    "get_cfg_default",
    "last_checkpoint",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pretrained_weights",
    "mkdir_if_missing",
    "open_image",
    "random_state",
    "read_image",
    "read_json",
    "remove_temporary_files",
    "restore_random_state",
    "save_checkpoint",
    "save_state",
    "set_random_seed",
    "setup_logger",
    "write_json",
]
