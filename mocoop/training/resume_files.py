"""The files that a run resumes from: those of its epochs, and two that are written in mid-epoch in turn.

`resume.pth.tar` is the newest state and `resume-previous.pth.tar` the one before it, so that a file which a crash
left damaged costs some steps, not the run. Both are removed when training ends.
"""

import logging
import os
import re
from pathlib import Path

from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import epoch_model, load_checkpoint, save_state

NEWEST = "resume.pth.tar"
PREVIOUS = "resume-previous.pth.tar"
DAMAGED = ".damaged"

logger = logging.getLogger(__name__)


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

    A damaged file is passed over with a warning, and put aside where the next state would take its place: the last
    good one must not be what is written over. Raises CheckpointError if all are damaged.
    """
    best: tuple[Path, dict] | None = None
    damaged = []
    for path in _candidates(folder):
        if best and (path.name == PREVIOUS or (_epoch_of(path), 0) <= progress(best[1])):
            continue  # its name says that it is behind
        try:
            checkpoint = load_checkpoint(path)
            progress(checkpoint)
        except (CheckpointError, KeyError, TypeError) as error:
            damaged.append(path)
            logger.warning("passed over, going on from an earlier state: %s", error)
            continue
        best = max(best, (path, checkpoint), key=lambda found: progress(found[1])) if best else (path, checkpoint)
    if best is None and damaged:
        names = ", ".join(path.name for path in damaged)
        raise CheckpointError(f"no checkpoint in {folder} is readable ({names}); remove them to start anew")
    for path in damaged:
        if path.name in (NEWEST, PREVIOUS):
            os.replace(path, path.with_name(path.name + DAMAGED))
    return best


def progress(checkpoint: dict) -> tuple[int, int]:
    """Whole epochs, and batches of the next, that a checkpoint has seen."""
    return int(checkpoint["epoch"]), int(checkpoint.get("batch", 0))


def _candidates(folder: Path) -> list[Path]:
    """What may hold the newest state: mid-epoch files, then those of the epochs from the last to the first."""
    found = filter(_epoch_of, folder.glob(epoch_model("*")))
    epochs = sorted(found, key=_epoch_of, reverse=True)
    return [path for path in (folder / NEWEST, folder / PREVIOUS, *epochs) if path.is_file()]


def _epoch_of(path: Path) -> int:
    match = re.fullmatch(re.escape(epoch_model("")) + r"(\d+)", path.name)
    return int(match[1]) if match else 0
