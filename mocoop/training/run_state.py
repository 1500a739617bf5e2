"""What a run's checkpoint holds: what was learned, what is needed to use it alone, and what is needed to resume.

Only tensors and plain values, so that it loads with `weights_only=True`; CLIP's frozen weights are not in it.
"""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from mocoop.backbone import is_name
from mocoop.clip.backbone import Backbone
from mocoop.clip.identity import tensors_sha256
from mocoop.config import fill
from mocoop.errors import CheckpointError, quoted
from mocoop.methods import get_method
from mocoop.methods.base import PromptMethod
from mocoop.results.record import plain_config
from mocoop.training.checkpoint import run_folder
from mocoop.training.foreign import foreign_description

FORMAT = 1
logger = logging.getLogger(__name__)
_DESCRIPTION = {"name": str, "backbone": str, "classnames": list, "structure": dict, "config": dict}


def describe_method(cfg: CfgNode, method: PromptMethod) -> dict:
    """Which method the learned state belongs to, enough to build it again."""
    return {
        "format": FORMAT,
        "name": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "activation": method.clip_model.activation,
        "clip_sha256": method.clip_model.sha256,
        "classnames": list(method.classnames),
        "structure": method.structure(),
        "config": plain_config(cfg),
    }


def pack(cfg: CfgNode, method: PromptMethod, stateful_parts: dict, **progress: Any) -> dict:
    """All that a checkpoint holds, for `save_checkpoint`.

    Args:
        stateful_parts: optimizer, scheduler and scaler, by these names.
        progress: `epoch`, whole epochs seen, of `epochs` that the run trains; within one `batch`, batches seen of the
            next, and `epoch_random_state`, of the generators when it began; `best_result` and `val_result`, the best
            accuracy on the validation images so far and this epoch's; `stream`, what the run's random numbers are drawn
            from (`mocoop.training.batches`); `train_seconds`; `manifest_sha256`, of the training images.
    """
    return {
        "state_dict": method.learned_state(),
        "extra_state": method.extra_state(),
        "method": describe_method(cfg, method),
        **{name: part.state_dict() for name, part in stateful_parts.items()},
        "random_state": random_state(),
        "val_result": None,
        **progress,
    }


def restore(method: PromptMethod, stateful_parts: dict, checkpoint: dict, path: Path) -> None:
    """Take over all that `pack` put into a checkpoint of this method. Raises CheckpointError if it does not fit."""
    made = description(checkpoint, path)
    if made and method.bound_to_classes() and made["classnames"] != method.classnames:
        raise CheckpointError(f"{path} was trained on other classes or in another order, expected the same to resume")
    load_weights(method, checkpoint, path)
    for key, part in stateful_parts.items():
        if key not in checkpoint:
            raise CheckpointError(f"{path} has no {key} state, expected a checkpoint of this trainer to resume from")
        try:
            part.load_state_dict(checkpoint[key])
        except (KeyError, ValueError) as error:
            reason = f"the state of its {key} does not fit: {error}"
            raise CheckpointError(f"{path} was made with other settings: {reason}") from error
    method.load_extra_state(checkpoint.get("extra_state", {}))


def load_weights(method: PromptMethod, checkpoint: dict, path: Path) -> None:
    """Set what the method learned. Raises CheckpointError, naming the file, if it does not fit."""
    try:
        state, made = learned_state(checkpoint, path), description(checkpoint, path)
        method.load_learned_state(method.rows_of_classes(state, made["classnames"]) if made else state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def learned_state(checkpoint: dict, path: str | Path) -> dict:
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


def description(checkpoint: dict, path: str | Path) -> dict | None:
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


def known_of(checkpoint: dict, path: str | Path) -> dict:
    """What a checkpoint says of its method, else what its folder tells (`foreign_description`)."""
    return description(checkpoint, path) or foreign_description(run_folder(path))


def check_made_for(cfg: CfgNode, checkpoint: dict, path: str | Path) -> None:
    """Raises CheckpointError if a checkpoint belongs to another method than the config's."""
    made = known_of(checkpoint, path).get("name")
    if made not in (None, cfg.TRAINER.NAME):
        raise CheckpointError(f"{path} was trained with TRAINER.NAME {quoted(made)}, got {quoted(cfg.TRAINER.NAME)}")


def check_clip(cfg: CfgNode, clip_model: Backbone, made: dict, path: str | Path) -> None:
    """Raises CheckpointError if what was trained would meet another CLIP.

    Weights are compared by their hash, wherever they lie; where none was kept, as in old and foreign checkpoints,
    names are, and a file's name says nothing.

    Args:
        cfg: whose MODEL.BACKBONE.NAME clip_model was loaded by.
        made: what is known of the training: `known_of` a checkpoint, or a run's record.
    """
    trained, used = made.get("backbone"), cfg.MODEL.BACKBONE.NAME
    before, now = made.get("clip_sha256"), clip_model.sha256
    if before and now:
        if before != now:
            was, got = f"{quoted(trained)} (weights {before[:12]})", f"{quoted(used)} (weights {now[:12]})"
            raise CheckpointError(f"{path} was trained with MODEL.BACKBONE.NAME {was}, got {got}")
    elif trained not in (None, used):
        if is_name(trained) and is_name(used):
            raise CheckpointError(f"{path} was trained with MODEL.BACKBONE.NAME {quoted(trained)}, got {quoted(used)}")
        logger.warning("%s was trained with %s: whether %s is the same CLIP is not known", path, trained, used)
    activation = made.get("activation")
    if activation not in (None, clip_model.activation):
        raise CheckpointError(
            f"{path} was trained with MODEL.BACKBONE.ACTIVATION {quoted(activation)}, got {clip_model.activation}"
        )


def check_classes(method: PromptMethod, checkpoint: dict, path: str | Path) -> None:
    """Raises CheckpointError if what was learned for some classes would be used for others."""
    bound, made = method.bound_to_classes(), known_of(checkpoint, path)
    if not bound:
        return
    if "classnames" in made:
        if not method.serves(made["classnames"], method.classnames):
            raise CheckpointError(f"{path} has {bound}, {unserved(made['classnames'], method.classnames)}")
        return
    dataset, known = method.cfg.DATASET, {"NAME": made.get("dataset"), "SUBSAMPLE_CLASSES": made.get("classes")}
    for key, value in known.items():
        if value not in (None, dataset.get(key)):
            was, got = quoted(value), quoted(dataset.get(key))
            raise CheckpointError(f"{path} has {bound}, and was trained with DATASET.{key} {was}, got {got}")
    if None in known.values():
        logger.warning("%s has %s, and does not say of which: the run's own are assumed, in order", path, bound)


def unserved(trained: Sequence[str], wanted: Sequence[str]) -> str:
    """In words, what a method that serves trained classes alone lacks of the wanted ones."""
    others = [quoted(name, 40) for name in (Counter(wanted) - Counter(trained))]
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"of which there are {len(trained)}, and none for other class names, such as {shown}"


def structure_of(checkpoint: dict, path: str | Path) -> dict:
    """The structural keys of a checkpoint's method: as it resolved them, else as its config or its log has them."""
    made = description(checkpoint, path)
    if made is None:
        return foreign_description(run_folder(path)).get("structure", {})
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


# --- random numbers ----------------------------------------------------------------------------------------------


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def random_state() -> dict:
    """The state of those generators, in tensors, lists and numbers only, so that it loads with `weights_only=True`."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    keys, position = (numpy["state"][part] for part in ("key", "pos"))
    return {
        "python": [version, list(words), gauss],
        "numpy": [numpy["bit_generator"], keys.tolist(), int(position), int(numpy["has_gauss"]), float(numpy["gauss"])],
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict) -> None:
    """Put back what `random_state` returned, on CUDA for the device in use."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
