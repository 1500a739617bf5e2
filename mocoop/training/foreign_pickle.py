"""Harmless stand-ins for what checkpoints of CoOp and Dassl hold besides tensors and plain values.

With a warm-up, Dassl's scheduler state contains a whole scheduler and, through it, a whole optimiser; some forks store
NumPy numbers. `torch.load(weights_only=True)` refuses such files. Under `stand_ins()` it reads them, with an inert
object in the place of each of the objects named here: nothing from the file is run, and no real class is built.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FunctionType

import numpy as np
import torch

INERT_CLASSES = (
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "torch.optim.lr_scheduler.MultiStepLR",
    "torch.optim.lr_scheduler.StepLR",
    "torch.optim.adam.Adam",
    "torch.optim.adamw.AdamW",
    "torch.optim.rmsprop.RMSprop",
    "torch.optim.sgd.SGD",
    "dassl.optim.radam.RAdam",
)


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


def python_number(number_type: NumberType, data: bytes) -> bool | int | float:
    """In place of NumPy's scalar constructor: a plain Python number."""
    return np.frombuffer(data, number_type.dtype)[0].item()


def plain_dict(*default_factory: object) -> dict:
    """In place of `collections.defaultdict`, whose factory is dropped."""
    return {}


def stand_ins() -> AbstractContextManager:
    """A context in which `torch.load(weights_only=True)` knows the stand-ins."""
    if hasattr(torch.serialization, "safe_globals"):
        return torch.serialization.safe_globals(STAND_INS)
    torch.serialization.add_safe_globals(STAND_INS)  # torch 2.4 cannot take them back
    return nullcontext()


def _named(path: str, stand_in: Callable) -> Callable:
    """The stand-in under another's name; a copy, since one stands in for several."""
    copy: type | FunctionType
    if isinstance(stand_in, type):
        copy = type(stand_in.__name__, (stand_in,), {})
    else:
        copy = FunctionType(stand_in.__code__, stand_in.__globals__)
    copy.__module__, _, copy.__name__ = path.rpartition(".")
    copy.__qualname__ = copy.__name__
    return copy


STAND_INS: list[Callable | tuple[Callable, str]] = [
    dict,
    *(_named(path, Inert) for path in INERT_CLASSES),
    _named("numpy.dtype", NumberType),
    _named("numpy.core.multiarray.scalar", python_number),
    _named("numpy._core.multiarray.scalar", python_number),
    _named("collections.defaultdict", plain_dict),
]
