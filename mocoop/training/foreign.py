"""What runs of CoOp, Dassl and their kin left: objects in their checkpoints, and what only their folders tell.

With a warm-up, Dassl's scheduler state contains a whole scheduler and, through it, a whole optimiser; some forks store
NumPy numbers. `torch.load(weights_only=True)` refuses such files. With STAND_INS as safe globals it reads them, with an
inert object in the place of each of the objects named here: nothing from the file is run, no real class is built.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mocoop.registry import methods
from mocoop.results.coop_logs import log_place, logged_config


class Inert:
    """An object of which nothing is kept."""

    def __setstate__(self, state: object) -> None:
        pass


class NumberType:
    """In place of `numpy.dtype`, and of numbers only: a code such as "f8" and a byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if np.dtype(code).kind not in "biuf":
            raise ValueError(f'got NumPy type "{code}", expected a number type')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class PythonNumber:
    """In place of NumPy's constructor of scalars; what it makes is a plain Python number."""

    def __new__(cls, number_type: NumberType, data: bytes) -> Any:
        return np.frombuffer(data, number_type.dtype)[0].item()


class PlainDict:
    """In place of `collections.defaultdict`, whose factory is dropped; what it makes is a plain dict."""

    def __new__(cls, *default_factory: object) -> Any:
        return {}


def _named(path: str, stand_in: type) -> type:
    """A copy of the stand-in under another's name: torch 2.4 knows a safe global by its own name alone."""
    module, _, name = path.rpartition(".")
    return type(name, (stand_in,), {"__module__": module})


_SCHEDULERS = ("CosineAnnealingLR", "MultiStepLR", "StepLR")
_OPTIMIZERS = ("torch.optim.adam.Adam", "torch.optim.adamw.AdamW", "torch.optim.rmsprop.RMSprop", "torch.optim.sgd.SGD")
STAND_INS: list[Callable | tuple[Callable, str]] = [
    dict,
    *(_named(f"torch.optim.lr_scheduler.{name}", Inert) for name in _SCHEDULERS),
    *(_named(path, Inert) for path in (*_OPTIMIZERS, "dassl.optim.radam.RAdam")),
    _named("numpy.dtype", NumberType),
    _named("numpy.core.multiarray.scalar", PythonNumber),
    _named("numpy._core.multiarray.scalar", PythonNumber),
    _named("collections.defaultdict", PlainDict),
]

# what names of CoOp's config files begin with, such as vit_b16_ep50_ctxv1
_BACKBONES = {"rn50": "RN50", "rn101": "RN101", "vit_b32": "ViT-B/32", "vit_b16": "ViT-B/16", "vit_l14": "ViT-L/14"}
_CLASSES = {"train_base": "base", "train_new": "new"}


def foreign_description(folder: Path) -> dict:
    """What is known of the run in a folder: name (of a method of ours), backbone, dataset, classes, structure.

    classes: DATASET.SUBSAMPLE_CLASSES. structure: the method's structural keys. What is not known is left out.
    """
    config, place = logged_config(folder), log_place(folder) or {}
    entry, cfg_name = methods().get(config.get("TRAINER.NAME") or place.get("method", "")), place.get("cfg", "")
    backbones = (name for start, name in _BACKBONES.items() if re.match(rf"{start}(_|$)", cfg_name))
    stated = {key: config.get(f"TRAINER.{entry.node}.{key}") for key in entry.structural_keys} if entry else {}
    known = {
        "name": entry.name if entry else None,
        "backbone": config.get("MODEL.BACKBONE.NAME") or next(backbones, None),
        "dataset": config.get("DATASET.NAME"),
        "classes": config.get("DATASET.SUBSAMPLE_CLASSES") or _CLASSES.get(place.get("phase", "")),
        "structure": {key: _value(text) for key, text in stated.items() if text is not None},
    }
    return {key: value for key, value in known.items() if value}


def _value(text: str) -> object:
    """A value as yacs prints it: plain yaml, of which an empty one is a text."""
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text
