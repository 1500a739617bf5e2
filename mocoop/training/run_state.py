"""What a run's checkpoint holds: what was learned, what is needed to use it alone, and what is needed to go on.

Only tensors and plain values, so that it loads with `weights_only=True`; CLIP's frozen weights are not in it.
"""

from pathlib import Path

from torch import Tensor
from yacs.config import CfgNode

from mocoop.clip.feature_cache import tensors_sha256
from mocoop.config import fill
from mocoop.errors import CheckpointError, quoted
from mocoop.methods import get_method
from mocoop.methods.base import PromptMethod
from mocoop.results.record import plain_config
from mocoop.training.checkpoint import BEST_MODEL, epoch_model, last_checkpoint
from mocoop.training.seeding import random_state

FORMAT = 1
MODEL = "prompt_learner"  # the folder of the checkpoints, as CoOp names it
FOREIGN_MODELS = (  # as MaPLe, IVLP and PromptSRC, MMA, DePT, and MMRL name it
    "MultiModalPromptLearner",
    "VLPromptLearner",
    "adapter_learner",
    "PromptLearner",
    "MultiModalRepresentationLearner",
)
_DESCRIPTION = {"name": str, "backbone": str, "classnames": list, "structure": dict, "config": dict}


def describe_method(cfg: CfgNode, method: PromptMethod) -> dict:
    """Which method the learned state belongs to, enough to build it again."""
    return {
        "format": FORMAT,
        "name": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "activation": method.clip_model.activation,
        "classnames": list(method.classnames),
        "structure": method.structure(),
        "config": plain_config(cfg),
    }


def pack(
    cfg: CfgNode,
    method: PromptMethod,
    stateful_parts: dict,
    *,
    epoch: int,
    epochs: int,
    best_result: float,
    stream: int,
    train_seconds: float,
    manifest_sha256: str | None,
    val_result: float | None = None,
    batch: int | None = None,
    epoch_random_state: dict | None = None,
) -> dict:
    """All that a checkpoint holds, for `save_checkpoint`.

    Args:
        stateful_parts: optimizer, scheduler and scaler, by these names.
        epoch: whole epochs seen, of `epochs` that the run trains. batch: batches seen of the next, None between epochs.
        best_result, val_result: the best accuracy on the validation images so far, and this epoch's.
        stream: what the run's random numbers are drawn from (`mocoop.training.batches`).
        manifest_sha256: of the training images.
        epoch_random_state: the generators when the epoch in progress began; `random_state` are those of now.
    """
    state = {
        "state_dict": method.learned_state(),
        "extra_state": method.extra_state(),
        "epoch": epoch,
        "epochs": epochs,
        "method": describe_method(cfg, method),
        **{name: part.state_dict() for name, part in stateful_parts.items()},
        "best_result": float(max(best_result, val_result) if val_result is not None else best_result),
        "val_result": val_result,
        "random_state": random_state(),
        "stream": stream,
        "train_seconds": train_seconds,
        "manifest_sha256": manifest_sha256,
    }
    if batch is not None:
        state |= {"batch": batch, "epoch_random_state": epoch_random_state}
    return state


def learned_state(checkpoint: dict, path) -> dict:
    """The learned parameters in a checkpoint of ours, or of CoOp's trainers."""
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or type(checkpoint.get("epoch")) is not int:
        raise CheckpointError(f"{path} is no training checkpoint: expected the keys state_dict and epoch")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} holds {quoted(name)} in its state_dict, expected tensors by name")
    return dict(state)


def weights_sha256(state: dict[str, Tensor]) -> str | None:
    """What learned tensors are known by; None if nothing is learned."""
    return tensors_sha256(sorted(state.items())) if state else None


def description(checkpoint: dict, path) -> dict | None:
    """What a checkpoint says of its method (`describe_method`); None if it says nothing, as CoOp's own."""
    made = checkpoint.get("method")
    if made is None:
        return None
    for key, kind in _DESCRIPTION.items():
        if not isinstance(made, dict) or not isinstance(made.get(key), kind):
            raise CheckpointError(f"{path} does not describe its method: expected a {kind.__name__} under method.{key}")
    if not all(isinstance(name, str) for name in made["classnames"]):
        raise CheckpointError(f"{path} does not describe its method: expected texts in method.classnames")
    return made


def model_folder(run: str | Path) -> Path:
    """Where the checkpoints of a run lie, of ours or of another trainer of CoOp's kind."""
    found = (Path(run) / name for name in (MODEL, *FOREIGN_MODELS) if (Path(run) / name).is_dir())
    return next(found, Path(run) / MODEL)


def run_folder(path: str | Path) -> Path:
    """The folder of the run that `path` means: the folder itself, or one of its checkpoints."""
    path = Path(path).expanduser()
    folder = path if path.is_dir() else path.parent
    return folder.parent if folder.name in (MODEL, *FOREIGN_MODELS) else folder


def find_checkpoint(folder: Path, epoch: int | None = None) -> Path:
    """The checkpoint in `folder` after `epoch` epochs, else the best by validation, else the last.

    Raises CheckpointError if there is none.
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
    """Raises CheckpointError if a checkpoint belongs to another method or another CLIP than the config's."""
    made = description(checkpoint, path)
    if made is None:
        return
    found = {"TRAINER.NAME": made["name"], "MODEL.BACKBONE.NAME": made["backbone"]}
    wanted = {"TRAINER.NAME": cfg.TRAINER.NAME, "MODEL.BACKBONE.NAME": cfg.MODEL.BACKBONE.NAME}
    for key, value in found.items():
        if value != wanted[key]:
            raise CheckpointError(f"{path} was trained with {key} {quoted(value)}, got {quoted(wanted[key])}")


def check_activation(method: PromptMethod, checkpoint: dict, path) -> None:
    """Raises CheckpointError if CLIP computed with another activation when the method was trained."""
    made, used = (description(checkpoint, path) or {}).get("activation"), method.clip_model.activation
    if made not in (None, used):
        raise CheckpointError(f"{path} was trained with MODEL.BACKBONE.ACTIVATION {quoted(made)}, got {used}")


def check_classes(method: PromptMethod, checkpoint: dict, path) -> None:
    """Raises CheckpointError if what was learned for some classes would be used for others."""
    bound, made = method.bound_to_classes(), description(checkpoint, path)
    if bound and made is not None and not method.serves(made["classnames"], method.classnames):
        raise CheckpointError(f"{path} has {bound}, and none for other class names; the classes here are others")


def structure_of(checkpoint: dict, path) -> dict:
    """The structural keys of a checkpoint's method: as it resolved them, else as its config has them."""
    made = description(checkpoint, path)
    if made is None:
        return {}
    entry = get_method(made["name"])
    node = made["config"].get("TRAINER", {}).get(entry.node) or {}
    return {key: node[key] for key in entry.structural_keys if key in node} | made["structure"]


def with_structure(cfg: CfgNode, structure: dict) -> CfgNode:
    """A copy of the config in which the method has the structure that a checkpoint was trained with.

    Raises ConfigError for a value that its key cannot have.
    """
    cfg = cfg.clone()
    cfg.defrost()
    nodes = {key: value for key, value in structure.items() if isinstance(value, dict)}  # of a method that it holds
    fill(cfg.TRAINER, {get_method(cfg.TRAINER.NAME).node: structure, **nodes}, "structure of the checkpoint")
    cfg.freeze()
    return cfg
