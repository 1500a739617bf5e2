"""What a run's checkpoint holds: what was learned, what is needed to use it alone, and what is needed to go on.

Only tensors and plain values, so that it loads with `weights_only=True`; CLIP's frozen weights are not in it.
"""

from pathlib import Path

from torch import Tensor
from yacs.config import CfgNode

from mocoop.config import fill
from mocoop.errors import CheckpointError, quoted
from mocoop.methods import METHODS, get_method
from mocoop.methods.base import PromptMethod
from mocoop.results.record import plain_config
from mocoop.training.checkpoint import BEST_MODEL, epoch_model, last_checkpoint
from mocoop.training.seeding import random_state

FORMAT = 1
MODEL = "prompt_learner"  # the folder of the checkpoints, as CoOp names it
# Tensors that CoOp's trainers save beside what they learned: embeddings of the class names at hand.
_DERIVED = ("token_prefix", "token_suffix")
_DESCRIPTION = {"name": str, "backbone": str, "classnames": list, "structure": dict, "config": dict}


def describe_method(cfg: CfgNode, method: PromptMethod) -> dict:
    """Which method the learned state belongs to, enough to build it again."""
    return {
        "format": FORMAT,
        "name": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "classnames": list(method.classnames),
        "structure": method.structure(),
        "config": plain_config(cfg),
    }


def pack(cfg: CfgNode, method: PromptMethod, epoch: int, optimizer, scheduler, scaler, best: float, **more) -> dict:
    """A checkpoint after `epoch` epochs, for `save_checkpoint`, with the random numbers as they are now."""
    return {
        "state_dict": method.learned_state(),
        "epoch": epoch,
        "method": describe_method(cfg, method),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "scaler": scaler.state_dict(),
        "best_result": float(best),
        "random_state": random_state(),
        **more,
    }


def learned_state(checkpoint: dict, path) -> dict:
    """The learned parameters in a checkpoint of ours, or of CoOp's trainers."""
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or type(checkpoint.get("epoch")) is not int:
        raise CheckpointError(f"{path} is no training checkpoint: expected the keys state_dict and epoch")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} holds {quoted(name)} in its state_dict, expected tensors by name")
    return {name: value for name, value in state.items() if name not in _DERIVED}


def description(checkpoint: dict, path) -> dict | None:
    """What a checkpoint says of its method (`describe_method`); None where it says nothing, as CoOp's own."""
    made = checkpoint.get("method")
    if made is None:
        return None
    for key, kind in _DESCRIPTION.items():
        if not isinstance(made, dict) or not isinstance(made.get(key), kind):
            raise CheckpointError(f"{path} does not describe its method: expected a {kind.__name__} under method.{key}")
    if not all(isinstance(name, str) for name in made["classnames"]):
        raise CheckpointError(f"{path} does not describe its method: expected texts in method.classnames")
    return made


def find_checkpoint(folder: Path, epoch: int | None = None) -> Path:
    """The checkpoint in `folder` after `epoch` epochs, else the best by validation, else the last.

    Raises CheckpointError where there is none.
    """
    if epoch is not None:
        path = folder / epoch_model(epoch)
    elif (folder / BEST_MODEL).is_file():
        path = folder / BEST_MODEL
    else:
        path = last_checkpoint(folder) or folder / BEST_MODEL
    if not path.is_file():
        found = sorted(p.name for p in folder.glob("model*")) if folder.is_dir() else []
        raise CheckpointError(f"no checkpoint {path}, found {', '.join(found) if found else 'none'} in {folder}")
    return path


def check_made_for(cfg: CfgNode, checkpoint: dict, path) -> None:
    """Raises CheckpointError where a checkpoint belongs to another method or another CLIP than the config's."""
    made = description(checkpoint, path)
    if made is None:
        return
    found = {"TRAINER.NAME": made["name"], "MODEL.BACKBONE.NAME": made["backbone"]}
    wanted = {"TRAINER.NAME": cfg.TRAINER.NAME, "MODEL.BACKBONE.NAME": cfg.MODEL.BACKBONE.NAME}
    for key, value in found.items():
        if value != wanted[key]:
            raise CheckpointError(f"{path} was trained with {key} {quoted(value)}, got {quoted(wanted[key])}")


def with_structure(cfg: CfgNode, structure: dict) -> CfgNode:
    """A copy of the config in which the method has the structure that a checkpoint was trained with.

    Raises ConfigError for a value that its key cannot have.
    """
    cfg = cfg.clone()
    cfg.defrost()
    fill(METHODS[cfg.TRAINER.NAME].settings(cfg), structure, "structure of the checkpoint")
    cfg.freeze()
    return cfg


def grad_clip_norm(cfg: CfgNode, asked_precision: str) -> float:
    """The gradient norm that the method clips to, 0 for none (TRAINER.MOCOOP.GRAD_CLIP_NORM and GRAD_CLIP_WHEN)."""
    node = get_method(cfg.TRAINER.NAME).settings(cfg)
    norm, when = node.get("GRAD_CLIP_NORM", 0.0), node.get("GRAD_CLIP_WHEN", "always")
    return norm if when == "always" or asked_precision == "amp" else 0.0
