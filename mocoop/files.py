"""Files: whole-or-nothing writes, hashes, and reading small files that others made.

Whatever is wrong with a file from elsewhere is an error of one line; a pipe or a device is refused before it is
opened, since opening it may wait for ever. Nothing here needs torch.
"""

import codecs
import hashlib
import json
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mocoop.errors import ConfigError, DataError, reason_of

LARGEST_TEXT = 1 << 30  # bytes
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")  # what atomic_write calls a file while it writes it


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
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


def write_file(path: str | os.PathLike, content: str | bytes | memoryview) -> None:
    """Write a text or bytes to `path`, whole or not at all."""
    with atomic_write(path, "w" if isinstance(content, str) else "wb") as handle:
        handle.write(content)


def remove_temporary_files(folder: str | os.PathLike) -> None:
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


def cache_folder() -> Path | None:
    """Where the library keeps what it can compute again: $MOCOOP_CACHE, by default ~/.cache/mocoop; None if it is off.

    The folder may be deleted at any time.
    """
    folder = os.environ.get("MOCOOP_CACHE", "~/.cache/mocoop")
    return None if folder in ("", "off") else Path(folder).expanduser()


def file_states(paths: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """Of each file its path, and what the system says that no copying program can set back: another content, another
    state. Size, time of the last write and of the last change, inode."""
    found = ((path, os.stat(path)) for path in paths)
    return [(path, each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino) for path, each in found]


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the bytes of `path`, in hexadecimal."""
    return file_hash(path, "sha256")


def file_hash(path: str | os.PathLike, kind: str) -> str:
    """Hash of the bytes of `path`, in hexadecimal; kind: sha256 or md5."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_unused(path: Path, force: bool = False, advice: str = "name another file, or pass --force") -> None:
    """Raises ConfigError for a file that is to be written and exists, unless it may be replaced, or is a folder."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected the name of a file to write")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists and is not overwritten; {advice}")


def check_empty(folder: Path, force: bool = False) -> None:
    """Raises ConfigError for a folder that is to be written to and is a file, or holds something that may not go."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ConfigError(f"{folder} holds files already; name an empty or a new folder, or pass --force")


def check_zip(path: str | os.PathLike) -> None:
    """Raise zipfile.BadZipFile where a zip file has a wrong checksum: torch reads tensors without looking at theirs."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def check_plain_file(path: str | os.PathLike, error: type[Exception] = DataError) -> os.stat_result:
    """The status of a plain file. Raises FileNotFoundError if there is none, and `error` for anything else."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
        raise error(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or reason_of(problem)})") from problem
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path}: got a {_kind(status.st_mode)}, expected a file")
    return status


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in kinds.items() if test(mode)), "device")


def read_text(
    path: str | os.PathLike,
    kind: str = "text file",
    advice: str = "",
    encoding: str = "utf-8-sig",
    largest: int = LARGEST_TEXT,
) -> str:
    """The text of a file, in `encoding`, or in UTF-16 if it begins so; a byte order mark is left out.

    Raises DataError, which calls the file `kind` and ends in `advice`, where it cannot be read.
    """
    ending = f"; {advice}" if advice else ""
    try:
        size = check_plain_file(path).st_size
        if size > largest:
            raise ValueError(f"{size:,} bytes, expected at most {largest:,}")
        content = Path(path).read_bytes()
        return content.decode("utf-16" if content.startswith(UTF_16) else encoding)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise DataError(f"{path}: not a readable {kind} ({reason}){ending}") from error


def read_json(path: str | os.PathLike, kind: str = "JSON file", advice: str = "") -> Any:
    """The content of a JSON file. Raises DataError as `read_text` does, and where the file is no JSON."""
    text = read_text(path, kind, advice)
    try:
        return parse_json(text)
    except ValueError as error:
        ending = f"; {advice}" if advice else ""
        raise DataError(f"{path}: not a readable {kind} ({reason_of(error)}){ending}") from error


def parse_json(text: str) -> Any:
    """What a JSON text stands for. Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
