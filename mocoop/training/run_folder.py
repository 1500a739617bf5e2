"""A run's folder while a process works in it: one process at a time, one set of settings, a status that is true.

`run.lock` names host and process, and its time of change is the heartbeat; it is locked while the process lives, so
that a killed one leaves no trace that counts. `result.json` has the status: running, failed with the error, or done.
"""

import errno
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

from mocoop.errors import CheckpointError, ConfigError, DataError, MocoopError
from mocoop.files import parse_json, remove_temporary_files
from mocoop.results.record import (
    FILE_NAME,
    config_differences,
    read_record,
    unfinished_record,
    write_record,
)
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.run_state import MODEL, find_checkpoint, learned_state, model_folder, weights_sha256

LOCK = "run.lock"
HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 6 * HEARTBEAT_SECONDS  # without a heartbeat for so long, a process of another host is taken for dead
SHOWN_DIFFERENCES = 8
FOLDERS_OF_A_RUN = 7  # <protocol>/<phase>/<dataset>/shots_<n>/<Trainer>/<cfg>/seed<k>

_held: set[TextIO] = set()  # open lock files


class FolderInUseError(MocoopError):
    """Another process works in the folder."""


class RunFolder:
    """The folder of one run, held by this process. See `hold`.

    Args:
        cfg: the run's settings.
        command: what train.py was asked to do with them, plain values.
    """

    def __init__(self, folder, cfg, command: dict):
        self.path, self.cfg, self.command = Path(folder), cfg, command
        self.result = self.path / FILE_NAME

    def is_finished(self) -> bool:
        """Whether the same run has been done here, with the weights that it would test now.

        Raises ConfigError for a run of other settings.
        """
        if not self.result.is_file():
            return False
        try:
            record = read_record(self.result)
        except DataError:
            return False  # cut short by a full disk, say: the run makes it anew
        refuse_other_settings(
            self.path,
            config_differences(record["config"], self.cfg) + _differences(record.get("command"), self.command),
        )
        return record["status"] == "done" and not self._tested_others(record)

    def _tested_others(self, record: dict) -> bool:
        """Whether the model that was evaluated has been trained anew since; False if that cannot be said."""
        folder, tested = self.command.get("model_dir"), record.get("weights_sha256")
        if not self.command.get("eval_only") or not folder or tested is None:
            return False
        try:
            path = find_checkpoint(model_folder(folder), self.command.get("load_epoch"))
            return weights_sha256(learned_state(load_checkpoint(path), path)) != tested
        except CheckpointError:
            return False  # moved away or damaged: what was measured stands

    def set_running(self) -> None:
        self._write(unfinished_record(self.cfg, "running", command=self.command))

    def set_failed(self, reason: str) -> None:
        """Note why the run ended; a disk too full for the note is not another failure."""
        try:
            self._write(unfinished_record(self.cfg, "failed", reason, command=self.command))
        except OSError:
            pass

    def set_ended(self) -> None:
        """After a run that was not to be tested, no record is left: it measured nothing."""
        if self.result.is_file() and read_record(self.result)["status"] != "done":
            self.result.unlink()

    def _write(self, record: dict) -> None:
        write_record(self.result, record)


def refuse_other_settings(folder: Path, differences: list[str]) -> None:
    """Raises ConfigError where there are any."""
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        shown = differences[:SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError(f"{folder} holds a run of other settings: {'; '.join(shown)}; choose another --output-dir")


@contextmanager
def hold(folder, cfg, command: dict) -> Iterator[RunFolder]:
    """The folder, made where it is missing, and this process's alone meanwhile.

    Raises FolderInUseError, and ConfigError where no folder can be made.
    """
    path = writable_folder(folder)
    file = _lock(path / LOCK)
    for place in (path, path / MODEL):
        remove_temporary_files(place)  # of a process that was killed in the middle of a write
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path / LOCK, ended), daemon=True)
    beat.start()
    _held.add(file)
    try:
        yield RunFolder(path, cfg, command)
    finally:
        ended.set()
        beat.join()
        (path / LOCK).unlink(missing_ok=True)  # while locked: nobody else can hold it
        _held.remove(file)
        file.close()


def writable_folder(folder) -> Path:
    """The folder, made where it is missing. Raises ConfigError where that cannot be, or it cannot be written to."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise  # of the machine's doing, not of the name
        raise ConfigError(
            f"--output-dir {path} cannot be used: {error.strerror}; choose a folder that can be written"
        ) from error
    return path


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
    holder = _holder(file)
    if (
        holder.get("host") not in (None, socket.gethostname())
        and time.time() - os.fstat(file.fileno()).st_mtime < SILENT_SECONDS
    ):
        raise _in_use(path, file)
    file.truncate(0)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": started}, file)
    file.flush()
    return file


def _is_current(path: Path, file) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file) -> dict:
    file.seek(0)
    try:
        found = parse_json(file.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(path: Path, file) -> FolderInUseError:
    holder, silence = _holder(file), _silence(file)
    file.close()
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('started', '?')}"
    return FolderInUseError(
        f"{path.parent} is in use by {who} (last heartbeat {silence:.0f} s ago); "
        "wait for it, or choose another --output-dir"
    )


def _silence(file) -> float:
    """Seconds since the last heartbeat."""
    return max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            pass  # a file system that is away for a moment does not end the run


def _differences(recorded: dict | None, wanted: dict) -> list[str]:
    if recorded is None:
        return []
    return [
        f"--{flag.replace('_', '-')} was {recorded.get(flag)}, got {wanted.get(flag)}"
        for flag in sorted(recorded.keys() | wanted.keys())
        if _as_compared(flag, recorded.get(flag)) != _as_compared(flag, wanted.get(flag))
    ]


def _as_compared(flag: str, value):
    """Of a model's folder the part that says which run it is: an output tree may be moved, or named another way."""
    return Path(value).parts[-FOLDERS_OF_A_RUN:] if flag == "model_dir" and isinstance(value, str) else value
