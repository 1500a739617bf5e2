"""Optimisers by name, with the hyper-parameters of the OPTIM node."""

from torch import nn, optim

from mocoop.errors import ConfigError


def build_optimizer(model, optim_cfg, param_groups=None) -> optim.Optimizer:
    """The optimiser that `optim_cfg.NAME` names, over `param_groups` or else over `model`.

    `model` is a module or an iterable of parameters. Groups without a rate of their own learn at `optim_cfg.LR`.
    Raises ConfigError for an unknown name and for OPTIM.STAGED_LR.
    """
    if optim_cfg.NAME not in OPTIMIZERS:
        raise ConfigError(f'OPTIM.NAME: got "{optim_cfg.NAME}", expected one of {", ".join(OPTIMIZERS)}')
    if optim_cfg.STAGED_LR:
        raise ConfigError("OPTIM.STAGED_LR is True, expected False: each method sets the rates of its own parameters")
    if param_groups is None:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    return OPTIMIZERS[optim_cfg.NAME](param_groups, optim_cfg)


def _adam(params, cfg, amsgrad=False):
    return optim.Adam(params, **_rate_and_decay(cfg), **_adams_own(cfg), amsgrad=amsgrad)


def _amsgrad(params, cfg):
    return _adam(params, cfg, amsgrad=True)


def _adamw(params, cfg):
    return optim.AdamW(params, **_rate_and_decay(cfg), **_adams_own(cfg))


def _radam(params, cfg):
    return optim.RAdam(params, **_rate_and_decay(cfg), **_adams_own(cfg), decoupled_weight_decay=True)


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


def _adams_own(cfg):
    return {"betas": (cfg.ADAM_BETA1, cfg.ADAM_BETA2), "eps": cfg.get("EPS", 1e-8)}  # Dassl's config has no EPS


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
