"""What a machine does to a run, in one line that says what to do about it."""

import errno
import re

import torch

from mocoop.errors import MocoopError, reason_of

GO_ON = "the same command goes on from the last state that was saved"


def explain(error: BaseException) -> str | None:
    """One line for a failure that is no defect of the program; None for one that may be."""
    if isinstance(error, MocoopError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"out of GPU memory: {reason_of(error)}; lower DATALOADER.TRAIN_X.BATCH_SIZE or "
            f"DATALOADER.TEST.BATCH_SIZE; {GO_ON}"
        )
    if isinstance(error, MemoryError):
        return f"out of memory; lower the batch size or DATALOADER.NUM_WORKERS; {GO_ON}"
    if isinstance(error, OSError):
        return _explain_files(error)
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        killed = re.search(r"killed by signal: (\w+)", str(error))
        how = f"was killed ({killed[1]})" if killed else "ended unexpectedly"
        return f"a data loader worker {how}, often for lack of memory; lower DATALOADER.NUM_WORKERS; {GO_ON}"
    return None


def _explain_files(error: OSError) -> str | None:
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {where} could not be written; make room, then {GO_ON}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} cannot be written ({error.strerror}); choose a folder you may write to"
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN):
        return f"{where}: {error.strerror}; once the disk is back, {GO_ON}"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG):
        return f"{where}: {error.strerror}"
    return None
