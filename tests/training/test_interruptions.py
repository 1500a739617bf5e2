"""What ends a run: requests to stop, and what a machine does."""

import errno
import os
import signal

import pytest
import torch

from mocoop.training.interruptions import Stopped, explain, stop_requests


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/file")


EXPLAINED = {
    "disk full": (os_error(errno.ENOSPC), "disk full: /data/file could not be written; make room"),
    "quota": (os_error(errno.EDQUOT), "disk full: /data/file"),
    "unwritable": (os_error(errno.EACCES), "/data/file: Permission denied; fix that or choose another folder"),
    "read-only": (os_error(errno.EROFS), "/data/file: Read-only file system"),
    "lost disk": (os_error(errno.ESTALE), "once the disk is back, run the same command again"),
    "open files": (os_error(errno.EMFILE), "Too many open files; allow more (ulimit -n)"),
    "GPU memory": (torch.cuda.OutOfMemoryError("CUDA out of memory"), "lower DATALOADER.TRAIN_X.BATCH_SIZE"),
    "memory": (MemoryError(), "lower the batch size or DATALOADER.NUM_WORKERS"),
    "dead worker": (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "was killed (Killed)"),
    "lost worker": (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "ended unexpectedly"),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_a_machine_does_is_explained_in_one_line(name):
    error, message = EXPLAINED[name]
    line = explain(error)
    assert message in line and "\n" not in line and "run the same command again" in line


def test_what_may_be_a_defect_is_not():
    worker = RuntimeError("Caught RuntimeError in DataLoader worker process 0.")
    for error in (ValueError("a defect"), worker, OSError("without a number")):
        assert explain(error) is None


def test_a_second_interrupt_stops_at_once():
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers may repeat it
        with pytest.raises(Stopped, match="stopped by SIGTERM"):
            request.raise_if_asked()
