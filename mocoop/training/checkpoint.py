"""The files of a run's checkpoints: dictionaries of tensors and plain values, read without running anything.

A file is written whole or not at all. The layout is Dassl's: `model.pth.tar-<epoch>`, `model-best.pth.tar`, and the
name of the last one written in a text file called `checkpoint`. In mid-epoch two files are written in turn:
`resume.pth.tar` is the newest state and `resume-previous.pth.tar` the one before it, so that a file which a crash left
damaged costs some steps, not the run. Both are removed when training ends.
"""

import io
import logging
import os
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from mocoop.clip.weights import load_plain, why_unreadable
from mocoop.errors import CheckpointError, DataError, quoted
from mocoop.files import read_text, write_file
from mocoop.training.foreign import STAND_INS

MODEL = "prompt_learner"  # the folder of the checkpoints, as CoOp names it
FOREIGN_MODELS = (  # as MaPLe, IVLP and PromptSRC, MMA, DePT, MMRL, and SkipTuning name it
    "MultiModalPromptLearner",
    "VLPromptLearner",
    "adapter_learner",
    "PromptLearner",
    "MultiModalRepresentationLearner",
    "learnable_params",
)
POINTER = "checkpoint"
BEST_MODEL = "model-best.pth.tar"
NEWEST = "resume.pth.tar"
PREVIOUS = "resume-previous.pth.tar"
DAMAGED = ".damaged"

logger = logging.getLogger(__name__)


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


def save_state(state: object, path: str | Path) -> None:
    """Write tensors and plain values, whole or not at all."""
    buffer = io.BytesIO()  # where a disk is full, torch's own writer hides the reason
    torch.save(state, buffer)
    write_file(path, buffer.getbuffer())


def save_for_resuming(state: dict, folder: Path) -> None:
    """Write the state of a run in mid-epoch, and keep the one before."""
    if (folder / NEWEST).is_file():
        os.replace(folder / NEWEST, folder / PREVIOUS)
    save_state(state, folder / NEWEST)


def remove_resume_files(folder: Path) -> None:
    """Remove what only an unfinished training needs."""
    for name in (NEWEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def newest_state(folder: Path) -> tuple[Path, dict] | None:
    """The file that has seen the most steps and its content; None if the run has left none.

    A damaged file is skipped with a warning, and put aside where the next state would take its place: the last
    good one must not be what is written over. Raises CheckpointError if all are damaged.
    """
    best: tuple[Path, dict] | None = None
    damaged = []
    epochs = sorted(filter(_epoch_of, folder.glob(epoch_model("*"))), key=_epoch_of, reverse=True)
    for path in filter(Path.is_file, (folder / NEWEST, folder / PREVIOUS, *epochs)):
        if best and (path.name == PREVIOUS or (_epoch_of(path), 0) <= progress(best[1])):
            continue  # its name says that it is behind
        try:
            checkpoint = load_checkpoint(path)
            progress(checkpoint)
        except (CheckpointError, KeyError, TypeError) as error:
            damaged.append(path)
            logger.warning("skipped, resuming from an earlier state: %s", error)
            continue
        best = max(best, (path, checkpoint), key=lambda found: progress(found[1])) if best else (path, checkpoint)
    if best is None and damaged:
        names = ", ".join(path.name for path in damaged)
        raise CheckpointError(f"no checkpoint in {folder} is readable ({names}); remove them to start over")
    for path in damaged:
        if path.name in (NEWEST, PREVIOUS):
            os.replace(path, path.with_name(path.name + DAMAGED))
    return best


def progress(checkpoint: dict) -> tuple[int, int]:
    """Whole epochs, and batches of the next, that a checkpoint has seen."""
    return int(checkpoint["epoch"]), int(checkpoint.get("batch", 0))


def _epoch_of(path: Path) -> int:
    match = re.fullmatch(re.escape(epoch_model("")) + r"(\d+)", path.name)
    return int(match[1]) if match else 0


def load_checkpoint(fpath: str | Path) -> dict:
    """The dictionary stored in `fpath`, on the CPU; reads CoOp's and Dassl's files too.

    Raises CheckpointError if the file is missing, damaged, holds no dictionary, or holds objects that could run code.
    """
    path = Path(fpath)
    if not path.is_file():
        raise CheckpointError(f'no checkpoint file "{path}"; check the folder and the epoch')
    try:
        with _foreign_objects_stood_in():
            checkpoint = load_plain(path)
    except Exception as error:
        raise CheckpointError(f'cannot load "{path}": {why_unreadable(error)}') from error
    if not isinstance(checkpoint, dict) or not all(isinstance(key, str) for key in checkpoint):
        raise CheckpointError(f'"{path}" holds a {type(checkpoint).__name__}, expected a dictionary with words as keys')
    return checkpoint


def _foreign_objects_stood_in() -> AbstractContextManager:
    if hasattr(torch.serialization, "safe_globals"):
        return torch.serialization.safe_globals(STAND_INS)
    torch.serialization.add_safe_globals(STAND_INS)  # torch 2.4 cannot take them back
    return nullcontext()


def load_pretrained_weights(model: nn.Module, weight_path: str | Path) -> None:
    """Load what fits, by name and shape, of the weights in `weight_path`. Raises CheckpointError if nothing does."""
    checkpoint = load_checkpoint(weight_path)
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, dict):
        raise CheckpointError(f'"{weight_path}" holds a {type(weights).__name__} as state_dict, expected a dictionary')
    weights = {str(name).removeprefix("module."): value for name, value in weights.items()}
    own = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and getattr(v, "shape", None) == own[k].shape}
    if not fitting:
        raise CheckpointError(f'no weight in "{weight_path}" fits the model by name and shape; it is for another model')
    model.load_state_dict({**own, **fitting})
    print(f"Successfully loaded pretrained weights from {weight_path}")
    left_out = [name for name in weights if name not in fitting]
    if left_out:
        print(f"Layers discarded due to unmatched keys or size: {left_out}")
