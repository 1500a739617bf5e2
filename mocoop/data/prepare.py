"""Putting a dataset in place, and checking one on disk against its split and the published counts.

What is there stays, what can be had is downloaded and extracted, the rest is explained. Archives are kept in
`<dataset>/downloads`. An archive is extracted beside its destination and moved there in one step, so a dataset that was
interrupted can be prepared again at any time, and nothing is downloaded twice.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mocoop.data.base import BenchmarkDataset
from mocoop.data.download import download, extract, find_problem
from mocoop.data.sources import Source, SourceFile
from mocoop.errors import DataError
from mocoop.files import atomic_write
from mocoop.images import read_image
from mocoop.pixels import Reading

log = logging.getLogger(__name__)

DOWNLOADS = "downloads"
STAGING = ".extracting"


@dataclass(frozen=True)
class Outcome:
    """What became of a file: `state` is "there", "made" or "missing"; a missing one has a reason and steps to take."""

    file: SourceFile
    state: str
    reason: str = ""
    steps: str = ""


def prepare(source: Source, folder: Path) -> list[Outcome]:
    """Bring the files of `source` into `folder`, one outcome each. Nothing that is there is replaced.

    Raises DataError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        return [_prepare_file(file, folder) for file in source.files]
    except OSError as error:
        raise DataError(f"{folder}: cannot be prepared ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder / STAGING, ignore_errors=True)


def is_there(file: SourceFile, folder: Path) -> bool:
    """Whether everything that a file gives is in place."""
    return all(_exists(folder / path) for path in file.gives)


def _exists(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _prepare_file(file: SourceFile, folder: Path) -> Outcome:
    if is_there(file, folder):
        return Outcome(file, "there")
    try:
        original = _obtain(file, folder)
        if file.is_archive:
            _unpack(file, original, folder)
        elif original != folder / file.name:
            _copy(original, folder / file.name)
    except DataError as error:
        return Outcome(file, "missing", str(error), file.manual.replace("{folder}", str(folder)))
    return Outcome(file, "made")


def _obtain(file: SourceFile, folder: Path) -> Path:
    """The file as it is distributed: found, or downloaded."""
    if file.by_hand:
        raise DataError(f"{file.name} is not for everyone to download")
    home = folder / DOWNLOADS if file.is_archive else folder
    places = (f"{folder.name}/{DOWNLOADS}/{file.name}", f"{folder.name}/{file.name}", file.name, file.copy)
    for path in (folder.parent / place for place in places if place):
        if path.is_file():
            problem = find_problem(path, file)
            if problem is None:
                return path
            log.warning("%s is not used: %s", path, problem)
    if not file.urls and not file.drive:
        raise DataError(f"{file.name} cannot be downloaded")
    if (home / file.name).exists():
        raise DataError(f"{home / file.name} is in the way; delete it and run the command again")
    download(file, home / file.name)
    return home / file.name


def _unpack(file: SourceFile, archive: Path, folder: Path) -> None:
    staging = folder / STAGING
    if file.nested:
        outer = staging / "outer"
        extract(archive, outer)
        archive = outer / file.nested["path"]
        inner = SourceFile(archive.name, gives=file.gives, md5=file.nested["md5"])
        problem = find_problem(archive, inner) if archive.is_file() else "it is not in the archive"
        if problem:
            raise DataError(f"{file.name}: {file.nested['path']}: {problem}")
    content = staging / "content"
    extract(archive, content / file.into, file.strip)
    absent = [path for path in file.gives if not _exists(content / path) and not _exists(folder / path)]
    if absent:
        raise DataError(f"{archive}: got an archive without {', '.join(absent)}; delete it and run the command again")
    for path in file.gives:
        if not _exists(folder / path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.rename(content / path, folder / path)
    shutil.rmtree(staging)


def _copy(original: Path, destination: Path) -> None:
    with open(original, "rb") as content, atomic_write(destination, "wb") as file:
        shutil.copyfileobj(content, file)


@dataclass
class SplitReport:
    """One split: how many images it should have, how many the annotations list, and what is wrong with them."""

    split: str
    published: int | None  # None: nothing published to compare with
    listed: int
    missing: list[str]  # paths of files that are not there
    unreadable: list[str] | None  # one line each; None: images were not opened

    @property
    def found(self) -> int:
        return self.listed - len(self.missing)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unreadable and self.published in (None, self.listed)


def check(dataset: BenchmarkDataset, published: dict, images: bool = False) -> list[SplitReport]:
    """Check an opened dataset, writing no split; with `images` every image is read.

    Args:
        published: images of train, val and test in the published split; empty to compare with nothing.

    Raises:
        DataError: the dataset's folder or annotations are missing or damaged.
    """
    splits = dataset.load_splits(store=False)
    parts = {"test": splits.test} if dataset.test_only else splits._asdict()
    reports = []
    for name, items in parts.items():
        if items is not None:
            present, missing = list[str](), list[str]()
            for path in dict.fromkeys(item.impath for item in items):
                (present if os.path.exists(path) else missing).append(path)
            unreadable = _unreadable(present, name, dataset.reading) if images else None
            reports.append(SplitReport(name, published.get(name), len(items), missing, unreadable))
    return reports


def _unreadable(paths: Sequence[str], name: str, reading: Reading) -> list[str]:
    """One line for each image that cannot be decoded."""

    def problem(path: str) -> str:
        try:
            read_image(path, reading)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool:
        problems = pool.map(problem, paths)
        return list(filter(None, tqdm(problems, total=len(paths), desc=f"reading {name}", disable=None)))
