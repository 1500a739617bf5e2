"""Harmless stand-ins for what checkpoints of CoOp and Dassl hold besides tensors and plain values.

With a warm-up, Dassl's scheduler state contains a whole scheduler and, through it, a whole optimiser; some forks store
NumPy numbers. `torch.load(weights_only=True)` refuses such files. Under `stand_ins()` it reads them, with an inert
object in the place of each of the objects named here: nothing from the file is run, and no real class is built.
"""

from contextlib import nullcontext

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

    def __setstate__(self, state):
        pass


class NumberType:
    """In place of `numpy.dtype`, and of numbers only: a code such as "f8" and a byte order."""

    def __init__(self, code, align=False, copy=True):
        if np.dtype(code).kind not in "biuf":
            raise ValueError(f'got NumPy type "{code}", expected a number type')
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(state[1])


def python_number(number_type: NumberType, data: bytes):
    """In place of NumPy's scalar constructor: a plain Python number."""
    return np.frombuffer(data, number_type.dtype)[0].item()


def plain_dict(*default_factory) -> dict:
    """In place of `collections.defaultdict`, whose factory is dropped."""
    return {}


def stand_ins():
    """A context in which `torch.load(weights_only=True)` knows the stand-ins."""
    if hasattr(torch.serialization, "safe_globals"):
        return torch.serialization.safe_globals(STAND_INS)
    torch.serialization.add_safe_globals(STAND_INS)  # torch 2.4 cannot take them back
    return nullcontext()


def _class_named(path, base):
    module, _, name = path.rpartition(".")
    return type(name, (base,), {"__module__": module})


def _function_named(path, function):
    module, _, name = path.rpartition(".")

    def stand_in(*args):
        return function(*args)

    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


STAND_INS = [
    dict,
    *(_class_named(path, Inert) for path in INERT_CLASSES),
    _class_named("numpy.dtype", NumberType),
    _function_named("numpy.core.multiarray.scalar", python_number),
    _function_named("numpy._core.multiarray.scalar", python_number),
    _function_named("collections.defaultdict", plain_dict),
]
