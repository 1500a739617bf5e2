"""Checkpoints: dictionaries of tensors and plain values, written whole or not at all, read without running anything.

The folder layout is Dassl's: `model.pth.tar-<epoch>`, `model-best.pth.tar`, and the name of the last one written in a
text file called `checkpoint`.
"""

import io
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from mocoop.clip.weights import load_plain, why_unreadable
from mocoop.errors import CheckpointError, DataError, quoted
from mocoop.files import read_text, write_file
from mocoop.training.foreign_pickle import stand_ins

POINTER = "checkpoint"
BEST_MODEL = "model-best.pth.tar"


def epoch_model(epoch: int | str) -> str:
    """The file name of the checkpoint after `epoch` epochs, or of what stands for their number in a pattern."""
    return f"model.pth.tar-{epoch}"


def save_checkpoint(state: dict, save_dir: str | Path, model_name: str = "") -> Path:
    """Write `state` to `save_dir` as `model_name`, by default after `state["epoch"]`, and point `checkpoint` to it."""
    path = Path(save_dir) / (model_name or epoch_model(state["epoch"]))
    save_state(state, path)
    print(f"Checkpoint saved to {path}")
    if path.name != BEST_MODEL:  # a run resumes from its last epoch, not from its best
        write_file(path.parent / POINTER, f"{path.name}\n")
    return path


def load_checkpoint(fpath: str | Path) -> dict:
    """The dictionary stored in `fpath`, on the CPU; reads CoOp's and Dassl's files too.

    Raises CheckpointError if the file is missing, damaged, holds no dictionary, or holds objects that could run code.
    """
    path = Path(fpath)
    if not path.is_file():
        raise CheckpointError(f'no checkpoint file "{path}"; check the folder and the epoch')
    try:
        with stand_ins():
            checkpoint = load_plain(path)
    except Exception as error:
        raise CheckpointError(f'cannot load "{path}": {why_unreadable(error)}') from error
    if not isinstance(checkpoint, dict) or not all(isinstance(key, str) for key in checkpoint):
        raise CheckpointError(f'"{path}" holds a {type(checkpoint).__name__}, expected a dictionary with words as keys')
    return checkpoint


def last_checkpoint(directory: str | Path) -> Path | None:
    """The file that `checkpoint` in `directory` points to, or None without such a pointer."""
    pointer = Path(directory) / POINTER
    if not pointer.is_file():
        return None
    try:
        name = read_text(pointer).strip()
    except DataError as error:
        raise CheckpointError(f"{error}; expected the name of a checkpoint beside it") from error
    if Path(name).name != name or name in ("", "..") or "\0" in name or len(name) > 255:
        raise CheckpointError(f'"{pointer}" holds {quoted(name)}, expected the name of a file beside it')
    return pointer.parent / name


def load_pretrained_weights(model: nn.Module, weight_path: str | Path) -> None:
    """Load what fits, by name and shape, of the weights in `weight_path`. Raises CheckpointError if nothing does."""
    checkpoint = load_checkpoint(weight_path)
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, dict):
        raise CheckpointError(f'"{weight_path}" holds a {type(weights).__name__} as state_dict, expected a dictionary')
    weights = _without_module_prefix(weights)
    own = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and getattr(v, "shape", None) == own[k].shape}
    if not fitting:
        raise CheckpointError(f'no weight in "{weight_path}" fits the model by name and shape; it is for another model')
    model.load_state_dict({**own, **fitting})
    print(f"Successfully loaded pretrained weights from {weight_path}")
    left_out = [name for name in weights if name not in fitting]
    if left_out:
        print(f"Layers discarded due to unmatched keys or size: {left_out}")


def save_state(state: dict, path: str | Path) -> None:
    """Write a dictionary of tensors and plain values, whole or not at all."""
    buffer = io.BytesIO()  # where a disk is full, torch's own writer hides the reason
    torch.save(state, buffer)
    write_file(path, buffer.getbuffer())


def _without_module_prefix(state_dict: dict) -> OrderedDict[str, object]:
    return OrderedDict((str(name).removeprefix("module."), value) for name, value in state_dict.items())
