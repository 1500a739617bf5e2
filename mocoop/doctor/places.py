"""Where a run reads and writes: the data root, the output folder, the caches."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mocoop.doctor.finding import NOTE, OK, PROBLEM, Finding
from mocoop.errors import ConfigError

LEAST_FREE = 1 << 30  # bytes


def check_data(root: Path, asked: bool) -> Iterator[Finding]:
    """Which datasets are in the data root. `asked`: it was named, so that its absence is a problem."""
    if not root.is_dir():
        text = f"there is no folder {root.absolute()}; name yours with --root, or $DATA"
        yield Finding(PROBLEM if asked else NOTE, "data root", text)
        return
    try:
        folders = _dataset_folders()
    except ConfigError as error:
        yield Finding(NOTE, "data root", f"{root.absolute()}; its datasets are not listed: {error}")
        return
    found = sorted(name for name, folder in folders.items() if (root / folder).is_dir())
    listed = f"{', '.join(found)}; `mocoop datasets check NAME` looks at their files" if found else "no dataset in it"
    yield Finding(OK if found else NOTE, "data root", f"{root.absolute()}: {listed}")


def check_output(folder: Path) -> Iterator[Finding]:
    """Whether runs can be written. Raises OSError where they cannot be."""
    yield _storage("output", folder)


def check_caches() -> Iterator[Finding]:
    """Whether features and weights can be kept; a run does without, but recomputes or cannot download."""
    from mocoop.backbone import WEIGHTS_FOLDER
    from mocoop.clip.feature_cache import cache_folder

    features = cache_folder()
    if features is None:
        yield Finding(NOTE, "feature cache", "off (MOCOOP_CACHE)")
    for about, folder in (("feature cache", features), ("weights folder", WEIGHTS_FOLDER.expanduser())):
        if folder is None:
            continue
        try:
            yield _storage(about, folder)
        except OSError as error:
            yield Finding(NOTE, about, f"{folder} cannot be written to: {error.strerror}")


def _storage(about: str, folder: Path) -> Finding:
    existing = _existing(folder.absolute())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            error.errno, f"{existing} cannot be written to ({error.strerror}); name another folder"
        ) from error
    free = shutil.disk_usage(existing).free
    text = f"{folder.absolute()}, {free / 2**30:,.1f} GiB free"
    if free < LEAST_FREE:
        return Finding(
            PROBLEM, about, f"{text}, expected {LEAST_FREE / 2**30:.0f} or more: make room, or name another folder"
        )
    return Finding(OK, about, text)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is. Raises NotADirectoryError for a file on the way."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(20, f"{folder} is a file, expected a folder")
    return folder


def _dataset_folders() -> dict[str, str]:
    from mocoop.checkout import import_datasets

    registry = import_datasets()
    classes = {name: registry.get(name) for name in registry.registered_names()}
    return {name: kind.dataset_dir for name, kind in classes.items() if getattr(kind, "dataset_dir", "")}
