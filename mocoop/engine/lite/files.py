"""Small file helpers: whole-or-nothing writes, hashes, JSON and folders."""

import hashlib
import json
import os
import re
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")  # what atomic_write calls a file while it writes it


@contextmanager
def atomic_write(path, mode="w"):
    """Open `path` for writing so that readers see the old file or the whole new one, never a part.

    Yields a handle on a temporary file beside `path`, which takes its place when the block ends. If the block raises,
    the temporary file is removed and the old file stays. Missing parent folders are made. `mode` is "w" (UTF-8 text)
    or "wb".
    """
    if mode not in ("w", "wb"):
        raise ValueError(f'got mode "{mode}", expected "w" or "wb"')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    encoding = "utf-8" if mode == "w" else None
    try:
        with open(temporary, mode.replace("w", "x"), encoding=encoding) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # a disk that fails may fail again; the first failure is the one to tell
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # what writes and fsync leave out
        raise


def remove_temporary_files(folder) -> None:
    """Remove what an `atomic_write` to this folder left of itself when its process was killed. None may be going on."""
    for path in Path(folder).glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let a power failure keep the file's new name too, where the system can say so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def file_sha256(path) -> str:
    """SHA-256 of the bytes of `path`, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_json(fpath):
    """The object stored in a JSON file."""
    with open(fpath, encoding="utf-8") as handle:
        return json.load(handle)


def write_json(obj, fpath):
    """Store `obj` as indented JSON, atomically."""
    with atomic_write(fpath) as handle:
        json.dump(obj, handle, indent=4)


def mkdir_if_missing(dirname):
    """Make a folder and its parents where they are absent."""
    os.makedirs(dirname, exist_ok=True)


def listdir_nohidden(path, sort=False) -> list[str]:
    """Names in a folder, without those that start with a dot."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names
