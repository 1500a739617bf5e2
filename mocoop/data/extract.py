"""Extracting archives that are not trusted: only plain files and folders are made, and only inside one folder.

A link never comes into being: one that points inside the archive becomes a copy of what it points to, any other makes
the archive refused, as do absolute paths, paths with "..", and devices.
"""

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from mocoop.errors import DataError, reason_of

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
        for name, content in tqdm(members(archive), desc=f"extracting {archive.name}", unit="file", disable=None):
            _write(destination, name, content, strip)
    except DataError as error:
        raise DataError(f"{archive}: refused, {error}; delete it, and tell whoever offers it") from None
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the archive's
            raise DataError(f"{destination}: cannot be written ({error.strerror})") from error
        raise DataError(f"{archive}: cannot be extracted ({reason_of(error)}); delete it and try again") from error


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Name and content of each member; None is a folder."""
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = _safe_name(info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"its member {info.filename!r} is a link")
            if info.is_dir():
                yield name, None
            else:
                with opened.open(info) as content:
                    yield name, content


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """`_zip_members` of a tar; a link has the content of the file that it leads to."""
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            name, is_link = _safe_name(info.name), info.islnk() or info.issym()
            if info.isdir():
                yield name, None
                continue
            try:
                content = opened.extractfile(info)
            except KeyError:
                content = None
            if content is None:
                leads = f"a link to {info.linkname!r}, which is no file of the archive"
                raise DataError(f"its member {info.name!r} is {leads if is_link else 'neither a file nor a folder'}")
            with content:
                yield name, content


def _safe_name(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise DataError(f"its member {name!r} leaves the folder it is extracted to")
    return "/".join(part for part in parts if part not in ("", "."))


def _write(destination: Path, name: str, content: IO[bytes] | None, strip: str) -> None:
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
    with open(path, "wb") as file:
        shutil.copyfileobj(content, file)  # both readers see by themselves where content is missing
    os.chmod(path, 0o644)
