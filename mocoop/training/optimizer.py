"""Optimisers by name, with the hyper-parameters of the OPTIM node."""

import logging

from torch import nn, optim

from mocoop.errors import ConfigError

logger = logging.getLogger(__name__)


def build_optimizer(model, optim_cfg, param_groups=None) -> optim.Optimizer:
    """The optimiser that `optim_cfg.NAME` names, over `param_groups` or else over `model`.

    `model` is a module or an iterable of parameters. Groups without a rate of their own learn at `optim_cfg.LR`.
    Raises ConfigError for an unknown name.
    """
    if optim_cfg.NAME not in OPTIMIZERS:
        raise ConfigError(f'OPTIM.NAME: got "{optim_cfg.NAME}", expected one of {", ".join(OPTIMIZERS)}')
    if param_groups is None:
        param_groups = _parameters(model, optim_cfg)
    elif optim_cfg.STAGED_LR:
        logger.warning("OPTIM.STAGED_LR is ignored: the trainer sets the learning rate of each group itself")
    return OPTIMIZERS[optim_cfg.NAME](param_groups, optim_cfg)


def _parameters(model, optim_cfg):
    if optim_cfg.STAGED_LR:
        return _staged_groups(model, optim_cfg)
    return model.parameters() if isinstance(model, nn.Module) else model


def _staged_groups(model, optim_cfg):
    """Children named in NEW_LAYERS at the full rate, all others at BASE_LR_MULT of it."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"OPTIM.STAGED_LR needs a module, got {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = optim_cfg.NEW_LAYERS
    if isinstance(new_layers, str):
        new_layers = [new_layers]
    base, new = [], []
    for name, child in model.named_children():
        (new if name in new_layers else base).extend(child.parameters())
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]


def _adam(params, cfg, amsgrad=False):
    return optim.Adam(params, **_rate_and_decay(cfg), betas=(cfg.ADAM_BETA1, cfg.ADAM_BETA2), amsgrad=amsgrad)


def _amsgrad(params, cfg):
    return _adam(params, cfg, amsgrad=True)


def _adamw(params, cfg):
    return optim.AdamW(params, **_rate_and_decay(cfg), betas=(cfg.ADAM_BETA1, cfg.ADAM_BETA2))


def _radam(params, cfg):
    betas = (cfg.ADAM_BETA1, cfg.ADAM_BETA2)
    return optim.RAdam(params, **_rate_and_decay(cfg), betas=betas, decoupled_weight_decay=True)


def _rmsprop(params, cfg):
    return optim.RMSprop(params, **_rate_and_decay(cfg), momentum=cfg.MOMENTUM, alpha=cfg.RMSPROP_ALPHA)


def _sgd(params, cfg):
    return optim.SGD(
        params,
        **_rate_and_decay(cfg),
        momentum=cfg.MOMENTUM,
        dampening=cfg.SGD_DAMPNING,
        nesterov=cfg.SGD_NESTEROV,
    )


def _rate_and_decay(cfg):
    return {"lr": cfg.LR, "weight_decay": cfg.WEIGHT_DECAY}


OPTIMIZERS = {
    "adam": _adam,
    "amsgrad": _amsgrad,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "radam": _radam,
    "adamw": _adamw,
}
