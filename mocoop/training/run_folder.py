"""A run's folder while a process works in it: one process at a time, one set of settings, a status that is true.

`result.json` has the status: running, failed with the error, or done.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yacs.config import CfgNode

from mocoop.backbone import clip_sha256, is_name
from mocoop.distributed import is_main
from mocoop.errors import CheckpointError, ConfigError, DataError, MocoopError
from mocoop.files import remove_temporary_files
from mocoop.results.record import FILE_NAME, config_differences, read_record, trains, unfinished_record, write_record
from mocoop.training.checkpoint import MODEL, find_checkpoint, load_checkpoint, model_folder
from mocoop.training.folder_lock import locked
from mocoop.training.run_state import learned_state, weights_sha256

SHOWN_DIFFERENCES = 8
FOLDERS_OF_A_RUN = 7  # <protocol>/<phase>/<dataset>/shots_<n>/<Trainer>/<cfg>/seed<k>


class RunFolder:
    """The folder of one run, held by this process. See `hold`.

    Args:
        cfg: the run's settings.
        command: what train.py was asked to do with them, plain values.
    """

    def __init__(self, folder: str | Path, cfg: CfgNode, command: dict):
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
            return False  # cut short by a full disk, say: the run writes it again
        if record["status"] != "done" and not any((self.path / MODEL).glob("*")):
            return False  # it ended before anything was saved
        refuse_other_settings(
            self.path, self._settings_differences(record) + _differences(record.get("command"), self.command)
        )
        return record["status"] == "done" and not self._tested_others(record)

    def _settings_differences(self, record: dict) -> list[str]:
        """With CLIPs compared by their weights if the record has their hash, wherever the file lies now.

        A run that is not done has none yet: its checkpoint has, which is compared when it is read.
        """
        differences = config_differences(record["config"], self.cfg, trains({"command": self.command}))
        if record["status"] != "done":
            return without_clip(differences)
        name, before = self.cfg.MODEL.BACKBONE.NAME, record.get("clip_sha256")
        if before is None or is_name(name) and name == record["backbone"]:
            return differences
        try:
            now = clip_sha256(self.cfg)
        except MocoopError:
            return differences  # it is not there any more: what was measured stands
        other = [f"the CLIP {record['backbone']} had weights {before[:12]}, {name} has {now[:12]}"]
        return without_clip(differences) + (other if before != now else [])

    def _tested_others(self, record: dict) -> bool:
        """Whether the model that was evaluated has been trained again since; False if that cannot be said."""
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
        if is_main() and self.result.is_file() and read_record(self.result)["status"] != "done":
            self.result.unlink()

    def _write(self, record: dict) -> None:
        if is_main():
            write_record(self.result, record)


def refuse_other_settings(folder: Path, differences: list[str]) -> None:
    """Raises ConfigError if there are any."""
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        shown = differences[:SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError(f"{folder} holds a run of other settings: {'; '.join(shown)}; choose another --output-dir")


def without_clip(differences: list[str]) -> list[str]:
    """Differences of settings without the name of CLIP, which may have moved."""
    return [line for line in differences if not line.startswith("MODEL.BACKBONE.NAME was ")]


@contextmanager
def hold(folder: str | Path, cfg: CfgNode, command: dict) -> Iterator[RunFolder]:
    """The folder, made if it is missing, held by this process, of several ranks by the main one, until the block ends.

    Raises FolderInUseError, and ConfigError where no folder can be made.
    """
    if not is_main():
        yield RunFolder(folder, cfg, command)
        return
    path = writable_folder(folder)
    with locked(path):
        for place in (path, path / MODEL):
            remove_temporary_files(place)  # of a process that was killed in the middle of a write
        yield RunFolder(path, cfg, command)


def writable_folder(folder: str | Path) -> Path:
    """The folder, made where it is missing. Raises ConfigError if that cannot be, or it cannot be written to."""
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


def _differences(recorded: dict | None, wanted: dict) -> list[str]:
    if recorded is None:
        return []
    return [
        f"--{flag.replace('_', '-')} was {recorded.get(flag)}, got {wanted.get(flag)}"
        for flag in sorted(recorded.keys() | wanted.keys())
        if _as_compared(flag, recorded.get(flag)) != _as_compared(flag, wanted.get(flag))
    ]


def _as_compared(flag: str, value: object) -> object:
    """Of a model's folder the part that says which run it is: an output tree may be moved, or named another way."""
    return Path(value).parts[-FOLDERS_OF_A_RUN:] if flag == "model_dir" and isinstance(value, str) else value
