"""Downloading one file and extracting it: mirrors in order, transfers resumed, hashes checked, archives not trusted.

A transfer is kept as `<name>.part` beside its destination until it is whole and verified. Of an archive only plain
files and folders are made, and only inside one folder. A link never comes into being: one that points inside the
archive becomes a copy of what it points to, any other makes the archive refused, as do absolute paths, paths with "..",
and devices. Of libraries, pooch and torchvision's helpers resume no transfer, and tarfile's `data` filter makes links.
"""

import logging
import lzma
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

import requests
from tqdm import tqdm

from mocoop.data.sources import SourceFile
from mocoop.errors import DataError, reason_of
from mocoop.files import file_hash

log = logging.getLogger(__name__)

CHUNK = 1 << 18
ATTEMPTS = 4  # in a row without a byte of progress
TIMEOUT = (15, 60)  # seconds to connect, and between two bytes
PAUSE = 1.0  # seconds before the second attempt, doubled each time
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


def download(file: SourceFile, path: Path) -> None:
    """Bring a file to `path` from its urls or Google Drive, whichever first delivers what its hash says.

    Raises DataError with the reason of each failure when none does. What arrived in part stays for the next try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    ways: list[tuple[str, Callable[[], None]]] = [(url, partial(fetch, url, part)) for url in file.urls]
    if file.drive:
        ways.append((f"Google Drive {file.drive}", partial(fetch_from_drive, file.drive, part)))
    failures = []
    for name, bring in ways:
        log.info("%s: from %s", path.name, name)
        problem = _bring(file, part, bring)
        if problem is None:
            return os.replace(part, path)
        failures.append(f"{name}: {problem}")
    raise DataError(f"{path.name} could not be downloaded ({'; '.join(failures)})")


def _bring(file: SourceFile, part: Path, bring: Callable[[], None]) -> str | None:
    """Bring the file, once more from its beginning where what was begun before does not fit; the problem, if any."""
    if not (file.sha256 or file.md5):
        part.unlink(missing_ok=True)  # nothing would tell whether it fits
    begun = part.exists()
    try:
        bring()
    except DataError as error:
        return str(error)
    problem = find_problem(part, file)
    if problem is not None:
        part.unlink()
    return _bring(file, part, bring) if problem and begun else problem


def fetch(url: str, part: Path, timeout: tuple[float, float] = TIMEOUT) -> None:
    """Download a url to `part`, from where an earlier transfer stopped; DataError when it cannot be completed."""
    idle = 0
    while True:
        before = _size(part)
        try:
            return _transfer(url, part, timeout)
        except requests.HTTPError as error:
            reason = f"HTTP status {(status := cast(requests.Response, error.response).status_code)}"
            if status < 500:
                raise DataError(reason) from None
        except (requests.RequestException, EOFError) as error:
            reason = type(error).__name__ if isinstance(error, requests.RequestException) else str(error)
        idle = 0 if _size(part) > before else idle + 1
        if idle >= ATTEMPTS:
            raise DataError(f"{reason}, after {_size(part):,} bytes")
        time.sleep(PAUSE * 2**idle)


def _transfer(url: str, part: Path, timeout: tuple[float, float]) -> None:
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416:  # there is nothing after what we have
            return
        answer.raise_for_status()
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-") or answer.status_code != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None) as bar,
        ):
            answer.raw.enforce_content_length = False  # or the last bytes before a cut would be lost; see below
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) < total:
        raise EOFError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def fetch_from_drive(file_id: str, part: Path) -> None:
    """Download a file of Google Drive to `part`. Raises DataError, also when Drive asks for a login or has no quota."""
    import gdown

    try:
        done = gdown.download(id=file_id, output=str(part), quiet=True, resume=False)
    except Exception as error:  # gdown raises what its version and Drive's page of the day lead to
        raise DataError(reason_of(error)) from error
    if done is None or not part.exists():
        raise DataError("Google Drive gives no public link; too many people may have downloaded it today")


def find_problem(path: Path, file: SourceFile) -> str | None:
    """What shows that `path` is not the file it should be, in words; None if nothing does.

    The hash decides; a file without one must at least be of its kind, since servers like to send a web page instead.
    """
    for kind, expected in (("sha256", file.sha256), ("md5", file.md5)):
        if expected:
            found = file_hash(path, kind)
            return None if found == expected else f"{kind} is {found}, expected {expected}"
    if file.is_archive:
        good = zipfile.is_zipfile(path) or _is_tar(path)
    else:
        good = not path.read_bytes()[:512].lstrip().lower().startswith((b"<!doctype", b"<html"))
    return None if good else f"its content is no {Path(file.name).suffix} file"


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, OSError):
        return False


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


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
