"""Learning-rate schedules as pure functions of the epoch, and the torch scheduler that follows one.

The values are those of Dassl 0.6.3 on the versions of torch it was written for.
"""

import math

from torch.optim.lr_scheduler import LRScheduler

from mocoop.errors import ConfigError


def single_step(epoch: int, size: int, gamma: float) -> float:
    """The share of the base rate left after multiplying by `gamma` every `size` epochs."""
    return gamma ** (epoch // size)


def multi_step(epoch: int, milestones, gamma: float) -> float:
    """The share of the base rate left after multiplying by `gamma` at each of `milestones`."""
    return gamma ** sum(0 <= milestone <= epoch for milestone in milestones)


def cosine(epoch: int, total: int) -> float:
    """The share of the base rate left on half a cosine wave, from 1 at epoch 0 to 0 at epoch `total`."""
    return 0.5 * (1 + math.cos(math.pi * epoch / total)) if epoch else 1.0


def constant_warmup(base: float, epoch: int, length: int, rate: float) -> float:
    """`rate`, whatever the base rate."""
    return rate


def linear_warmup(base: float, epoch: int, length: int, rate: float) -> float:
    """`rate` at epoch 0, then `epoch / length` of the base rate."""
    return base * epoch / length if epoch else rate


def after_warmup(epoch: int, length: int, decay, recount: bool) -> float:
    """The share of the base rate left at `epoch` >= `length`, the end of the warm-up, where it is 1.

    `decay` is a schedule in epochs. It starts there anew if `recount`, and else goes on as if it had run all along,
    scaled so that the rate is the base rate when the warm-up ends.
    """
    if recount:
        return decay(epoch - length)
    start = decay(length)
    if epoch == length:
        return 1.0
    return decay(epoch) / start if start else 0.0


def build_schedule(optim_cfg):
    """The function (base rate, epoch) -> rate that the OPTIM node describes. Raises ConfigError for unknown values."""
    decay = _build_decay(optim_cfg)
    length = optim_cfg.WARMUP_EPOCH
    if length <= 0:
        return lambda base, epoch: base * decay(epoch)
    warmup, first_rate = _choose_warmup(optim_cfg)

    def schedule(base, epoch):
        if epoch < length:
            return warmup(base, epoch, length, first_rate)
        return base * after_warmup(epoch, length, decay, optim_cfg.WARMUP_RECOUNT)

    return schedule


def _build_decay(optim_cfg):
    kind, stepsize, gamma, total = (optim_cfg[key] for key in ("LR_SCHEDULER", "STEPSIZE", "GAMMA", "MAX_EPOCH"))
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


def _choose_warmup(optim_cfg):
    if optim_cfg.WARMUP_TYPE == "constant":
        return constant_warmup, optim_cfg.WARMUP_CONS_LR
    if optim_cfg.WARMUP_TYPE == "linear":
        return linear_warmup, optim_cfg.WARMUP_MIN_LR
    raise ConfigError(f'OPTIM.WARMUP_TYPE: got "{optim_cfg.WARMUP_TYPE}", expected one of constant, linear')


class EpochScheduler(LRScheduler):
    """Sets every parameter group to `schedule(its base rate, epoch)`; `step` once per epoch.

    Its state is two plain values, `last_epoch` and `base_lrs`, so a resumed run has the rates of an unbroken one.
    """

    def __init__(self, optimizer, schedule):
        self.schedule = schedule
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [self.schedule(base, self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict:
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict):
        """Go to the epoch of `state_dict`, and set the optimiser's rates to it."""
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict.get("base_lrs", self.base_lrs))
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = rate


def build_lr_scheduler(optimizer, optim_cfg) -> EpochScheduler:
    """The scheduler that the OPTIM node describes: LR_SCHEDULER, STEPSIZE, GAMMA, MAX_EPOCH and WARMUP_*."""
    return EpochScheduler(optimizer, build_schedule(optim_cfg))
