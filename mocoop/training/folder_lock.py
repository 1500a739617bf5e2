"""The lock of a run's folder: one process at a time, whichever machine it runs on.

`run.lock` names host and process, and its time of change is the heartbeat. It is locked (flock) while the process
lives, so that a killed one leaves no trace that counts.

On shared file systems: Linux carries flock to the server on NFS (v4; v3 with lockd), Lustre mounted with `flock` and
GPFS, where it holds between machines as on one; the server drops the lock of a machine that died after its lease, 90
seconds as a rule. A mount with `nolock` or `local_lock` keeps locks to its own machine: there the heartbeat alone tells
other machines, while it is not SILENT_SECONDS old, nor as far ahead of this machine's clock. Not guaranteed on such a
mount: two machines that start in the same moment, clocks further apart than that, two machines of one name.

The package filelock keeps parts of this: its FileLock is flock alone, without the holder's name or a rule for such a
mount; its SoftFileLease has both, and gives the folder of a process that is only suspended to another one.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from mocoop.errors import MocoopError
from mocoop.files import parse_json

LOCK = "run.lock"
HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 6 * HEARTBEAT_SECONDS  # without a heartbeat for so long, a process of another host is taken for dead

_held: set[TextIO] = set()  # open lock files


class FolderInUseError(MocoopError):
    """Another process works in the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder is this process's alone until the block ends. Raises FolderInUseError."""
    path = folder / LOCK
    file = _lock(path)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    beat.start()
    _held.add(file)
    try:
        yield
    finally:
        ended.set()
        beat.join()
        path.unlink(missing_ok=True)  # while locked: nobody else can hold it
        _held.remove(file)
        file.close()


def holder_of(folder: Path) -> dict | None:
    """Host, pid and start of the process that works in a folder, as far as its lock tells; None if none does.

    Nothing is locked by asking, so that who asks is in nobody's way.
    """
    try:
        with open(folder / LOCK, encoding="utf-8") as file:
            holder, beats = _holder(file), _beats(file)
    except OSError:
        return None
    if holder.get("host") == socket.gethostname() and not _is_alive(holder.get("pid")):
        return None
    return holder if beats else None


def _is_alive(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError, OverflowError):
        return False
    return True


def _let_go() -> None:
    """A file is locked as long as any process has it open: data loader workers would outlive a killed run with it."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _lock(path: Path) -> TextIO:
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _in_use(path, file) from None
        if _is_current(path, file):
            break
        file.close()  # its holder has just ended and removed it
    if _holder(file).get("host") not in (None, socket.gethostname()) and _beats(file):
        raise _in_use(path, file)
    file.truncate(0)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": started}, file)
    file.flush()
    return file


def _is_current(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> dict:
    file.seek(0)
    try:
        found = parse_json(file.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(path: Path, file: TextIO) -> FolderInUseError:
    holder, silence = _holder(file), _silence(file)
    file.close()
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('started', '?')}"
    return FolderInUseError(
        f"{path.parent} is in use by {who} (last heartbeat {max(0.0, silence):.0f} s ago); "
        "wait for it, or choose another --output-dir"
    )


def _silence(file: TextIO) -> float:
    """Seconds since the last heartbeat; negative if it is dated in the future."""
    return time.time() - os.fstat(file.fileno()).st_mtime


def _beats(file: TextIO) -> bool:
    """Whether the heartbeat is recent, by clocks that may differ a little."""
    return abs(_silence(file)) < SILENT_SECONDS


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            pass  # a file system that is away for a moment does not end the run
