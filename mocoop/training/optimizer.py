"""Optimisers by name, with the hyper-parameters of the OPTIM node."""

from collections.abc import Callable, Iterable

import torch
from torch import nn, optim
from yacs.config import CfgNode

from mocoop.errors import ConfigError

OPTIMIZERS: dict[
    str, tuple[Callable[..., optim.Optimizer], Callable[[CfgNode], dict]]
] = {  # its class, and what it takes beside rate and weight decay
    "adam": (optim.Adam, lambda cfg: _adams_own(cfg)),
    "amsgrad": (optim.Adam, lambda cfg: _adams_own(cfg) | {"amsgrad": True}),
    "sgd": (
        optim.SGD,
        lambda cfg: {"momentum": cfg.MOMENTUM, "dampening": cfg.SGD_DAMPNING, "nesterov": cfg.SGD_NESTEROV},
    ),
    "rmsprop": (optim.RMSprop, lambda cfg: {"momentum": cfg.MOMENTUM, "alpha": cfg.RMSPROP_ALPHA}),
    "radam": (optim.RAdam, lambda cfg: _adams_own(cfg) | {"decoupled_weight_decay": True}),
    "adamw": (optim.AdamW, lambda cfg: _adams_own(cfg)),
}


FUSED = (optim.SGD, optim.Adam, optim.AdamW)  # a GPU updates all with a few launches, and skips amp's by itself


def build_optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict], optim_cfg: CfgNode, device: torch.device | None = None
) -> optim.Optimizer:
    """The optimiser that `optim_cfg.NAME` names, over parameters or groups of them.

    Groups without a rate of their own learn at `optim_cfg.LR`. On a CUDA `device` it is fused where torch has that.
    Raises ConfigError for an unknown name and for OPTIM.STAGED_LR.
    """
    if optim_cfg.NAME not in OPTIMIZERS:
        raise ConfigError(f'OPTIM.NAME: got "{optim_cfg.NAME}", expected one of {", ".join(OPTIMIZERS)}')
    if optim_cfg.STAGED_LR:
        raise ConfigError("OPTIM.STAGED_LR is True, expected False: each method sets the rates of its own parameters")
    kind, options = OPTIMIZERS[optim_cfg.NAME]
    fused = {"fused": True} if device is not None and device.type == "cuda" and kind in FUSED else {}
    return kind(params, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, **options(optim_cfg), **fused)


def _adams_own(cfg: CfgNode) -> dict:
    return {"betas": (cfg.ADAM_BETA1, cfg.ADAM_BETA2), "eps": cfg.get("EPS", 1e-8)}  # Dassl's config has no EPS
