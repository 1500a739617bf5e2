"""Optimisers by name, and learning rates as pure functions of the epoch with the torch scheduler that follows one.

Both are described by the OPTIM node. Rates are those of Dassl 0.6.3 on the versions of torch it was written for. A run
that trains by iterations follows the same functions with an iteration for an epoch.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
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


Decay = Callable[[int], float]  # epoch -> the share of the base rate left
Schedule = Callable[[float, int], float]  # base rate, epoch -> rate


def iterations(cfg: CfgNode, batches: int = 1) -> int:
    """How many iterations a run trains whose schedule moves on with each of them; 0 if it moves on with each epoch.

    OPTIM.MAX_ITER or ITERS_PER_SHOT says it, or with BY_ITERATION MAX_EPOCH, of epochs of so many `batches`.
    """
    optim = cfg.OPTIM  # a CoOp checkout's config lacks the keys
    asked = optim.get("MAX_ITER", 0) or optim.get("ITERS_PER_SHOT", 0) * cfg.DATASET.NUM_SHOTS
    return asked or max(optim.MAX_EPOCH, 0) * batches * optim.get("BY_ITERATION", False)


def check_length(cfg: CfgNode) -> None:
    """Raises ConfigError for a config that trains nothing."""
    optim, shots = cfg.OPTIM, cfg.DATASET.NUM_SHOTS
    if shots < 1 and optim.get("ITERS_PER_SHOT", 0) and not optim.get("MAX_ITER", 0):
        raise ConfigError(f"DATASET.NUM_SHOTS is {shots}, expected 1 or more with OPTIM.ITERS_PER_SHOT")
    if not iterations(cfg) and optim.MAX_EPOCH < 1:
        raise ConfigError(f"OPTIM.MAX_EPOCH is {optim.MAX_EPOCH}, expected 1 or more to train")


def single_step(epoch: int, size: int, gamma: float) -> float:
    """The share of the base rate left after multiplying by `gamma` every `size` epochs."""
    return gamma ** (epoch // size)


def multi_step(epoch: int, milestones: Sequence[int], gamma: float) -> float:
    """The share of the base rate left after multiplying by `gamma` at each of `milestones`."""
    return gamma ** sum(0 <= milestone <= epoch for milestone in milestones)


def cosine(epoch: int, total: int) -> float:
    """The share of the base rate left on half a cosine wave, from 1 at epoch 0 to 0 at epoch `total`."""
    return 0.5 * (1 + math.cos(math.pi * epoch / total)) if epoch else 1.0


def after_warmup(epoch: int, length: int, decay: Decay, recount: bool) -> float:
    """The share of the base rate left at `epoch` >= `length`, the end of the warm-up, where it is 1.

    `decay` is a schedule in epochs. It restarts there if `recount`, and else continues as if it had run all along,
    scaled so that the rate is the base rate when the warm-up ends.
    """
    if recount:
        return decay(epoch - length)
    start = decay(length)
    if epoch == length:
        return 1.0
    return decay(epoch) / start if start else 0.0


def build_schedule(optim_cfg: CfgNode, total: int) -> Schedule:
    """The schedule that the OPTIM node describes, over `total` epochs.

    Raises ConfigError for unknown values.
    """
    decay = _build_decay(optim_cfg, total)
    length, least = optim_cfg.WARMUP_EPOCH, optim_cfg.get("MIN_LR", 0.0) * (optim_cfg.LR_SCHEDULER == "cosine")
    if length <= 0:
        return lambda base, epoch: least + (base - least) * decay(epoch)
    warmup = _build_warmup(optim_cfg)

    def schedule(base: float, epoch: int) -> float:
        if epoch < length:
            return warmup(base, epoch)
        return least + (base - least) * after_warmup(epoch, length, decay, optim_cfg.WARMUP_RECOUNT)

    return schedule


def in_stages(optim_cfg: CfgNode, total: int, ends: Sequence[int]) -> Schedule:
    """The schedule that restarts at each of some epochs, and reaches its end there."""
    starts = [0, *ends]
    schedules = [build_schedule(optim_cfg, end - start) for start, end in zip(starts, [*ends, total])]

    def schedule(base: float, epoch: int) -> float:
        stage = stage_at(epoch, ends)
        return schedules[stage](base, epoch - starts[stage])

    return schedule


def stage_at(epoch: int, ends: Sequence[int]) -> int:
    """The stage, from 0, of an epoch, where `ends` are the epochs at which the next ones start."""
    return sum(end <= epoch for end in ends)


def _build_decay(optim_cfg: CfgNode, total: int) -> Decay:
    kind, stepsize, gamma = (optim_cfg[key] for key in ("LR_SCHEDULER", "STEPSIZE", "GAMMA"))
    if kind == "cosine":
        return lambda epoch: cosine(epoch, total)
    if kind == "single_step":
        size = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
        if not isinstance(size, int):
            raise ConfigError(f"OPTIM.STEPSIZE: got {stepsize!r}, expected a whole number of epochs for single_step")
        size = size if size > 0 else max(total, 1)
        return lambda epoch: single_step(epoch, size, gamma)
    if kind == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise ConfigError(f"OPTIM.STEPSIZE: got {stepsize!r}, expected a list of epochs for multi_step")
        return lambda epoch: multi_step(epoch, stepsize, gamma)
    raise ConfigError(f'OPTIM.LR_SCHEDULER: got "{kind}", expected one of single_step, multi_step, cosine')


def _build_warmup(optim_cfg: CfgNode) -> Schedule:
    """That of the epochs of the warm-up."""
    if optim_cfg.WARMUP_TYPE == "constant":
        return lambda base, epoch: optim_cfg.WARMUP_CONS_LR
    if optim_cfg.WARMUP_TYPE == "linear":
        return lambda base, epoch: base * epoch / optim_cfg.WARMUP_EPOCH if epoch else optim_cfg.WARMUP_MIN_LR
    raise ConfigError(f'OPTIM.WARMUP_TYPE: got "{optim_cfg.WARMUP_TYPE}", expected one of constant, linear')


class EpochScheduler(LRScheduler):
    """Sets every parameter group to `schedule(its base rate, epoch)`; `step` once per epoch.

    Its state is two plain values, `last_epoch` and `base_lrs`, so a resumed run has the rates of an unbroken one.

    Args:
        ends: the epochs at which later stages start, if there are any.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, ends: Sequence[int] = ()):
        self.schedule, self.ends = schedule, ends
        super().__init__(optimizer)

    @property
    def stage(self) -> int:
        """The one that the next epoch belongs to."""
        return stage_at(self.last_epoch, self.ends)

    def get_lr(self) -> list[float | Tensor]:
        return [self.schedule(float(base), self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict:
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go to the epoch of `state_dict`, and set the optimiser's rates to it."""
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict.get("base_lrs", self.base_lrs))
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = rate


def build_lr_scheduler(
    optimizer: Optimizer, optim_cfg: CfgNode, total: int = 0, stages: Sequence[float] = ()
) -> EpochScheduler:
    """The scheduler that the OPTIM node describes: LR_SCHEDULER, STEPSIZE, GAMMA, MAX_EPOCH, MIN_LR and WARMUP_*.

    Args:
        total: of the iterations, for a run that trains by them: then `step` once per iteration.
        stages: shares of the training at which the schedule restarts.
    """
    total = total or optim_cfg.MAX_EPOCH
    ends = [int(total * share) for share in stages]
    return EpochScheduler(optimizer, in_stages(optim_cfg, total, ends), ends)
