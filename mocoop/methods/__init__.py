"""The methods: how to configure, check and build each, by the name of its trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yacs.config import CfgNode

from mocoop.clip.openai import CLIP
from mocoop.data.config import add_folder_config
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod
from mocoop.methods.cocoop import add_cocoop_config, build_cocoop, cocoop_problems
from mocoop.methods.coop import add_coop_config, build_coop, coop_problems
from mocoop.methods.mocoop.config import add_mocoop_config, mocoop_problems
from mocoop.methods.mocoop.method import build_mocoop
from mocoop.methods.zeroshot import build_zeroshot, build_zeroshot_ensemble

__all__ = ["METHODS", "Method", "PromptMethod", "build_method", "config_problems", "extend_cfg", "get_method"]


@dataclass(frozen=True)
class Method:
    """How a method is built from a config, and where its keys are.

    Attributes:
        node: name of its node under TRAINER, or None for a method without keys.
        problems: lists what is wrong with a config, one line each.
    """

    build: Callable[..., PromptMethod]
    node: str | None = None
    problems: Callable[[CfgNode], list[str]] = lambda cfg: []

    def settings(self, cfg: CfgNode) -> CfgNode:
        """TRAINER.<node> of a config; an empty node for a method without keys."""
        return cfg.TRAINER[self.node] if self.node else CfgNode()


METHODS = {
    "ZeroshotCLIP": Method(build_zeroshot),
    "ZeroshotCLIP2": Method(build_zeroshot_ensemble),
    "CoOp": Method(build_coop, "COOP", coop_problems),
    "CoCoOp": Method(build_cocoop, "COCOOP", cocoop_problems),
    "MoCoOp": Method(build_mocoop, "MOCOOP", mocoop_problems),
}


def extend_cfg(cfg: CfgNode) -> None:
    """Add every method's keys, and those of all trainers here, to a default config."""
    add_coop_config(cfg)
    add_cocoop_config(cfg)
    add_mocoop_config(cfg)
    add_trainer_config(cfg)
    add_folder_config(cfg)


def add_trainer_config(cfg: CfgNode) -> None:
    """The keys that every method's trainer reads; in a config without one, its default counts."""
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base (first half of the classes) or new (the rest)
    cfg.TRAIN.CHECKPOINT_MINUTES = 10.0  # save the state in mid-epoch so often, 0: never
    cfg.TRAIN.CHECKPOINT_STEPS = 0  # and after so many steps, 0: never
    cfg.TRAIN.COMPILE = False  # torch.compile for the image tower: minutes of compiling first
    cfg.TRAIN.DETERMINISTIC = False  # on CUDA: only algorithms that give the same bits every time
    cfg.TRAIN.WANDB = ""  # a project at Weights & Biases to log to, empty: none
    cfg.TEST.FEATURE_CACHE = False  # keep the test images' features on disk, for all runs with this image tower
    cfg.TEST.ZERO_SHOT_IMAGES = 1000  # compare a trained method with zero-shot CLIP on up to so many, 0: do not


def get_method(name: str) -> Method:
    """The method of a trainer's name. Raises ConfigError for an unknown one."""
    if name not in METHODS:
        raise ConfigError(f"TRAINER.NAME is {name!r}, expected one of {', '.join(METHODS)}")
    return METHODS[name]


def config_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with the keys of the config's method, one line each."""
    return get_method(cfg.TRAINER.NAME).problems(cfg)


def build_method(
    cfg: CfgNode, classnames: Sequence[str], clip_model: CLIP, all_classnames: Sequence[str] | None = None
) -> PromptMethod:
    """The method that TRAINER.NAME names, over the given classes.

    Args:
        classnames: C names in label order.
        clip_model: from `mocoop.clip.backbone.load_clip`; shared, and frozen but for what the method learns.
        all_classnames: names of all classes, base and new, in label order; MoCoOp's text loss may use them.

    Raises:
        ConfigError: with all that is wrong with the method's keys, or for a class name too long for CLIP's context.
    """
    problems = config_problems(cfg)
    if problems:
        raise ConfigError("; ".join(problems))
    return get_method(cfg.TRAINER.NAME).build(cfg, classnames, clip_model, all_classnames)
