"""What a machine does to a run, in one line that says what to do about it."""

import errno
import re

import torch

from mocoop.errors import MocoopError, reason_of

AGAIN = "run the same command again: it resumes from the last saved state"

ADVICE = {
    (errno.EACCES, errno.EPERM, errno.EROFS): f"; fix that or choose another folder, then {AGAIN}",
    (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN): f"; once the disk is back, {AGAIN}",
    (errno.EMFILE, errno.ENFILE): f"; allow more (ulimit -n) or lower DATALOADER.NUM_WORKERS, then {AGAIN}",
    (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG): "",
}


def explain(error: BaseException) -> str | None:
    """One line for a failure that is no defect of the program; None for one that may be."""
    if isinstance(error, MocoopError):
        return str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return (
            f"out of GPU memory: {reason_of(error)}; lower DATALOADER.TRAIN_X.BATCH_SIZE or "
            f"DATALOADER.TEST.BATCH_SIZE, then {AGAIN}"
        )
    if isinstance(error, MemoryError):
        return f"out of memory; lower the batch size or DATALOADER.NUM_WORKERS, then {AGAIN}"
    if isinstance(error, OSError):
        return _explain_files(error)
    if isinstance(error, RuntimeError):
        return _explain_workers(str(error)) or _explain_ranks(error)
    return None


def _explain_files(error: OSError) -> str | None:
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {where} could not be written; make room, then {AGAIN}"
    for numbers, advice in ADVICE.items():
        if error.errno in numbers:
            return f"{where}: {error.strerror}{advice}"
    return None


def _explain_workers(message: str) -> str | None:
    """What torch says of a data loader's worker that is gone; not of an exception in one."""
    if not re.search(r"DataLoader worker \(pid", message):
        return None
    killed = re.search(r"killed by signal: (\w+)", message)
    how = f"was killed ({killed[1]})" if killed else "ended unexpectedly"
    return (
        f"a data loader worker {how}, often for lack of memory or of shared memory; "
        f"lower DATALOADER.NUM_WORKERS, then {AGAIN}"
    )


def _explain_ranks(error: RuntimeError) -> str | None:
    """What torch says where another rank is gone."""
    if isinstance(error, getattr(torch.distributed, "DistError", ())) or "gloo" in str(error):
        return f"another rank of this run has ended; its own output may say why; {AGAIN}"
    return None
