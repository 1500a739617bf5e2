"""The methods, found in this folder by themselves: a new one is a new file."""

import importlib
import pkgutil
from collections.abc import Sequence

from yacs.config import CfgNode

from mocoop.backbone import add_backbone_config
from mocoop.clip.backbone import Backbone
from mocoop.data.config import add_data_config
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod
from mocoop.registry import MethodEntry, get_method, load_plugin, methods, register_method

__all__ = [
    "MethodEntry",
    "PromptMethod",
    "build_method",
    "config_problems",
    "extend_cfg",
    "get_method",
    "load_plugin",
    "methods",
    "register_method",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def extend_cfg(cfg: CfgNode) -> None:
    """Add every method's keys, and those of all trainers here, to a config; a key that it has keeps its value."""
    for entry in methods().values():
        entry.add_keys(cfg)
    if "MODEL" in cfg:
        add_backbone_config(cfg)
    add_trainer_config(cfg)
    add_data_config(cfg)


def add_trainer_config(cfg: CfgNode) -> None:
    """The keys that every method's trainer reads; in a config without one, its default counts."""
    dataset, train, test = (node.setdefault for node in (cfg.DATASET, cfg.TRAIN, cfg.TEST))
    dataset("SPLITS", "")  # a folder of few-shot subsets made elsewhere (2SFS's, CoOp's, ours); empty: CoOp's draw
    dataset("SUBSAMPLE_CLASSES", "all")  # all, base (first half of the classes), new (the rest); in tests base+new
    if "OPTIM" in cfg:
        optim = cfg.OPTIM.setdefault
        optim("EPS", 1e-8)  # adam and its kin: added to the denominator
        optim("MAX_ITER", 0)  # train so many iterations, not MAX_EPOCH epochs; WARMUP_EPOCH, STEPSIZE count them too
        optim("ITERS_PER_SHOT", 0)  # without MAX_ITER: iterations for each of DATASET.NUM_SHOTS
        optim("BY_ITERATION", False)  # without either: MAX_EPOCH epochs, with a rate that moves at each iteration
        optim("MIN_LR", 0.0)  # cosine: the rate that it ends at
    train("CHECKPOINT_MINUTES", 10.0)  # minutes between saved states within an epoch, 0: never
    train("CHECKPOINT_STEPS", 0)  # steps between saved states within an epoch, 0: never
    train("CUDA_GRAPH", "auto")  # auto: replay steps as one CUDA graph where that can be; off
    train("DETERMINISTIC", False)  # on CUDA: only algorithms that give the same bits every time
    train("WANDB", "")  # a project at Weights & Biases to log to, empty: none
    test("FEATURE_CACHE", True)  # keep the test images' features on disk, for all runs with this image tower
    test("PREC", "peers")  # peers: as CoOp and its kin test, CLIP's weights without autocast; train: as in training
    test("ZERO_SHOT_IMAGES", 1000)  # compare a trained method with zero-shot CLIP on up to so many, 0: do not


def config_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with the keys of the config's method, one line each."""
    return get_method(cfg.TRAINER.NAME).problems(cfg)


def build_method(
    cfg: CfgNode,
    classnames: Sequence[str],
    clip_model: Backbone,
    all_classnames: Sequence[str] | None = None,
    teacher: PromptMethod | None = None,
) -> PromptMethod:
    """The method that TRAINER.NAME names, over the given classes.

    Args:
        classnames: C names in label order.
        clip_model: from `mocoop.backbone.load_clip`; shared, and not changed.
        all_classnames: names of all classes, base and new, in label order, for the text losses of LASP and MoCoOp.
        teacher: of a method with the key TEACHER in training, the method of that run.

    Raises:
        ConfigError: with all that is wrong with the method's keys, or for a class name too long for CLIP's context.
    """
    problems = config_problems(cfg)
    if problems:
        raise ConfigError("; ".join(problems))
    given = {} if teacher is None else {"teacher": teacher}
    return get_method(cfg.TRAINER.NAME).build(cfg, classnames, clip_model, all_classnames, **given)
