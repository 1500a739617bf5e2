"""Bounds of the config keys that the engine and every trainer read, checked before anything is built."""

from collections.abc import Iterator

from yacs.config import CfgNode

from mocoop.config import Limits
from mocoop.data.item import SUBSETS

MOST_WORKERS = 1024
MOST_MEGABYTES = 1 << 20
MOST_EPOCHS = 1_000_000
MOST_ITERATIONS = 100_000_000
SEEDS = 2**32  # of NumPy's generator


LIMITS = {
    "INPUT.SIZE": Limits(1, 8192),
    "INPUT.PIXEL_STD": Limits(1e-8),
    "INPUT.CROP_PADDING": Limits(0, 8192),
    "INPUT.RRCROP_SCALE": Limits(1e-4, 1),
    "INPUT.RANDAUGMENT_N": Limits(0, 100),
    "DATASET.NUM_SHOTS": Limits(-1),
    "DATASET.SUBSAMPLE_CLASSES": Limits(choices=SUBSETS),
    "DATALOADER.NUM_WORKERS": Limits(-1, MOST_WORKERS),
    "DATALOADER.DECODED_MB": Limits(0, MOST_MEGABYTES),
    "DATALOADER.K_TRANSFORMS": Limits(1, 1),
    "DATALOADER.TRAIN_X.BATCH_SIZE": Limits(1),
    "DATALOADER.TEST.BATCH_SIZE": Limits(1),
    "OPTIM.LR": Limits(0),
    "OPTIM.WEIGHT_DECAY": Limits(0),
    "OPTIM.MOMENTUM": Limits(0),
    "OPTIM.RMSPROP_ALPHA": Limits(0),
    "OPTIM.ADAM_BETA1": Limits(0, 0.9999999),
    "OPTIM.ADAM_BETA2": Limits(0, 0.9999999),
    "OPTIM.EPS": Limits(0),
    "OPTIM.GAMMA": Limits(0),
    "OPTIM.MAX_EPOCH": Limits(at_most=MOST_EPOCHS),
    "OPTIM.MAX_ITER": Limits(0, MOST_ITERATIONS),
    "OPTIM.ITERS_PER_SHOT": Limits(0, MOST_ITERATIONS),
    "OPTIM.MIN_LR": Limits(0),
    "OPTIM.WARMUP_CONS_LR": Limits(0),
    "OPTIM.WARMUP_MIN_LR": Limits(0),
    "TRAIN.PRINT_FREQ": Limits(1),
    "TRAIN.CUDA_GRAPH": Limits(choices=("auto", "off")),
    "TEST.SPLIT": Limits(choices=("test", "val")),
    "TEST.FINAL_MODEL": Limits(choices=("last_step", "best_val")),
}


def limit_problems(cfg: CfgNode) -> list[str]:
    """What is out of bounds in a config, one line each; keys that a config lacks are passed over."""
    return [problem for problem in _problems(cfg) if problem]


def _problems(cfg: CfgNode) -> Iterator[str | None]:
    if cfg.SEED >= SEEDS:
        yield f"SEED is {cfg.SEED}, expected less than {SEEDS}"
    for key, limits in LIMITS.items():
        node = cfg
        *path, name = key.split(".")
        for part in path:
            node = node.get(part, {})
        if name in node:
            yield limits.problem(key, node[name])
    if cfg.INPUT.RRCROP_SCALE and len(cfg.INPUT.RRCROP_SCALE) != 2:
        yield f"INPUT.RRCROP_SCALE is {cfg.INPUT.RRCROP_SCALE}, expected the smallest and the largest share of the area"
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if len(cfg.INPUT[key]) != 3:
            yield f"INPUT.{key} is {cfg.INPUT[key]}, expected three numbers, one a channel"
    if cfg.OPTIM.SGD_NESTEROV and cfg.OPTIM.NAME == "sgd" and (cfg.OPTIM.MOMENTUM <= 0 or cfg.OPTIM.SGD_DAMPNING != 0):
        yield "OPTIM.SGD_NESTEROV is True, expected an OPTIM.MOMENTUM above 0 and SGD_DAMPNING 0 with it"
