"""Where the datasets come from: sources.json beside this file, as objects.

Every fact about a download lives there: addresses in the order they are tried, Google Drive ids, hashes, what a file
turns into, and what to do by hand where nothing can be downloaded.
"""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mocoop.errors import DataError, reason_of
from mocoop.files import read_json

BUNDLED = Path(__file__).with_name("sources.json")


@dataclass(frozen=True)
class SourceFile:
    """One file of a dataset and what it turns into; all paths are relative to the dataset's folder."""

    name: str  # an archive, or the file itself
    gives: tuple[str, ...] = ()  # what is there once it is in place; default: the file
    urls: tuple[str, ...] = ()  # tried in order
    drive: str = ""  # Google Drive id, tried after the urls
    copy: str = ""  # a file of another dataset, relative to the data root, that will do
    md5: str = ""
    sha256: str = ""
    strip: str = ""  # folder in the archive whose content is wanted
    into: str = ""  # folder the content goes to
    nested: dict | None = None  # an archive within the archive: path and md5
    needed: bool = True  # False: of use only where there is no split file
    manual: str = ""  # what to do by hand; {folder} is the dataset's folder
    by_hand: bool = False  # the only way is by hand, even if the archive is there

    def __post_init__(self) -> None:
        object.__setattr__(self, "gives", tuple(self.gives) or (self.name,))

    @property
    def is_archive(self) -> bool:
        """Whether it has to be extracted."""
        return self.gives != (self.name,)


@dataclass(frozen=True)
class Source:
    """A dataset as it is distributed."""

    title: str
    home: str
    license: str
    classes: int
    counts: dict[str, int]  # images of train, val and test in the published split
    files: tuple[SourceFile, ...]
    dead: tuple[str, ...] = field(default=())  # addresses that no longer work, not tried
    notes: str = ""


def load_sources(path: str | os.PathLike = BUNDLED) -> dict[str, Source]:
    """Sources by registered dataset name. Raises DataError for a file that does not follow sources.json."""
    try:
        content = read_json(path)
        return {name: _make(Source, {**entry, "files": _files(entry)}) for name, entry in content.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a list of sources like {BUNDLED.name} ({reason_of(error)})") from error


def _files(entry: dict) -> tuple[SourceFile, ...]:
    return tuple(_make(SourceFile, file) for file in entry["files"])


def _make(kind: Any, values: dict[str, Any]) -> Any:
    unknown = values.keys() - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"unknown keys {', '.join(sorted(unknown))}")
    return kind(**values)
