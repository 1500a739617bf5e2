"""What ends a run before its time: a request to stop, and what a machine does to it.

SIGTERM, as job schedulers send it, and Ctrl-C let a run save its state first. A failure that is no defect of the
program becomes one line that says what to do about it.
"""

import errno
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from mocoop.distributed import highest, world_size
from mocoop.errors import MocoopError, reason_of

AGAIN = "run the same command again: it resumes from the last saved state"

ADVICE = {
    (errno.EACCES, errno.EPERM, errno.EROFS): f"; fix that or choose another folder, then {AGAIN}",
    (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN): f"; once the disk is back, {AGAIN}",
    (errno.EMFILE, errno.ENFILE): f"; allow more (ulimit -n) or lower DATALOADER.NUM_WORKERS, then {AGAIN}",
    (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG): "",
}


class Stopped(Exception):
    """The run was asked to stop; what it needs to resume is saved.

    Attributes:
        signal: the signal that asked.
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}; run the same command to resume")


class StopRequest:
    """Whether a signal has asked for a stop, this rank or another; all ask after it at the same points.

    Attributes:
        signal: that asked, once all ranks know of it; None before.
        shared: whether there are other ranks, which have to `agree` first.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.shared = world_size() > 1
        self._received: int | None = None

    def is_asked(self) -> bool:
        if self.shared:
            self.agree()
        return self.signal is not None

    def agree(self) -> None:
        """Let all ranks know of a signal that one of them has received; one that arrives later counts the next time."""
        self.signal = self.signal or highest(self._received or 0) or None

    def raise_if_asked(self) -> None:
        """Raises Stopped once a stop was asked for."""
        if self.is_asked() and self.signal is not None:
            raise Stopped(self.signal)

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler: note the first; a second Ctrl-C stops at once, without saving."""
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = self._received or number
        if not self.shared:
            self.signal = self._received


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block SIGTERM and SIGINT become requests; only the main thread may handle signals."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, request.receive) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


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
