"""Checking a dataset on disk against its split and against the published counts."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from mocoop.data.base import BenchmarkDataset
from mocoop.errors import DataError
from mocoop.images import AS_COOP, read_image
from mocoop.pixels import Reading


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
            there = {item.impath: os.path.exists(item.impath) for item in items}
            missing = [path for path, found in there.items() if not found]
            present = [path for path, found in there.items() if found]
            unreadable = find_unreadable(present, name, dataset.reading) if images else None
            reports.append(SplitReport(name, published.get(name), len(items), missing, unreadable))
    return reports


def find_unreadable(paths: Sequence[str], name: str, reading: Reading = AS_COOP) -> list[str]:
    """One line for each image that cannot be decoded."""
    with ThreadPoolExecutor() as pool:
        problems = list(
            tqdm(
                pool.map(lambda path: _problem(path, reading), paths),
                total=len(paths),
                desc=f"reading {name}",
                disable=None,
            )
        )
    return [problem for problem in problems if problem]


def _problem(path: str, reading: Reading) -> str | None:
    try:
        read_image(path, reading)
        return None
    except DataError as error:
        return str(error)
