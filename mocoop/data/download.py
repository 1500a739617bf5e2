"""Downloading one file: mirrors in order, interrupted transfers resumed, the result verified before it is used.

A transfer is kept as `<name>.part` beside its destination until it is whole.
"""

import logging
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

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
