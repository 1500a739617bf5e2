"""Extracting archives that are not trusted: only plain files and folders are made, and only inside one folder.

A link never comes into being: one that points inside the archive becomes a copy of what it points to, any other makes
the archive refused, as do absolute paths, paths with "..", and devices.
"""

import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from mocoop.errors import DataError, reason_of

CHUNK = 1 << 20
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


def extract(archive: Path, destination: Path, strip: str = "") -> None:
    """Extract a zip or (compressed) tar into the folder `destination`, which is made.

    Args:
        archive: the file.
        destination: where its content goes. After an error it may hold a part of the content.
        strip: a folder of the archive; only what is in it is extracted, without that prefix.

    Raises:
        DataError: the archive is damaged, or wants to write outside `destination` or make links out of it.
    """
    destination.mkdir(parents=True, exist_ok=True)
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        for name, size, content in tqdm(members(archive), desc=f"extracting {archive.name}", unit="file", disable=None):
            _write(destination, name, size, content, strip)
    except DataError as error:
        raise DataError(f"{archive}: refused, {error}; delete it, and tell whoever offers it") from None
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the archive's
            raise DataError(f"{destination}: cannot be written ({error.strerror})") from error
        raise DataError(f"{archive}: cannot be extracted ({reason_of(error)}); delete it and try again") from error


def _zip_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = _safe_name(info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"its member {info.filename!r} is a link")
            if info.is_dir():
                yield name, 0, None
            else:
                with opened.open(info) as content:
                    yield name, info.file_size, content


def _tar_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            name = _safe_name(info.name)
            if info.isdir():
                yield name, 0, None
                continue
            target = _link_target(opened, info) if info.islnk() or info.issym() else info
            if not target.isreg():
                raise DataError(f"its member {info.name!r} is neither a file nor a folder")
            with opened.extractfile(target) as content:
                yield name, target.size, content


def _link_target(opened: tarfile.TarFile, info: tarfile.TarInfo) -> tarfile.TarInfo:
    """The plain file a link leads to; DataError when the archive has no such member."""
    folder = "" if info.islnk() else posixpath.dirname(info.name)
    wanted = posixpath.normpath(posixpath.join(folder, info.linkname))
    for member in opened.getmembers():
        if posixpath.normpath(member.name) == wanted and member.isreg():
            return member
    raise DataError(f"its member {info.name!r} is a link to {info.linkname!r}, which is no file of the archive")


def _safe_name(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise DataError(f"its member {name!r} leaves the folder it is extracted to")
    return "/".join(part for part in parts if part not in ("", "."))


def _write(destination: Path, name: str, size: int, content: IO[bytes] | None, strip: str) -> None:
    if strip:
        if not name.startswith(strip + "/"):
            return
        name = name[len(strip) + 1 :]
    if not name or any(part == "__MACOSX" or part.startswith("._") for part in name.split("/")):
        return
    path = destination / name
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "wb") as file:
        while chunk := content.read(CHUNK):
            file.write(chunk)
            written += len(chunk)
    if written != size:
        raise EOFError(f"{name} has {written} bytes of {size}")
    os.chmod(path, 0o644)
