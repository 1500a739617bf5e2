"""Where a dataset's files are: relative paths that stay inside their folder, and listings in a fixed order."""

import os
from collections.abc import Iterable
from pathlib import Path

from mocoop.errors import DataError, quoted
from mocoop.images import is_image
from mocoop.names import odd_character

LONGEST_PATH = 4096  # characters
# What operating systems, archives and network drives put beside images; "." begins what is hidden.
SYSTEM_FOLDERS = (
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")


def join_inside(folder: str, relative: str, source: str) -> str:
    """Absolute path of `relative` under `folder`.

    Raises DataError, naming `source`, when the path is absolute, climbs out of the folder with "..", or is no path.
    """
    check_path(relative, source)
    if relative.startswith(("/", "\\")) or relative[1:3] in (":\\", ":/"):
        raise DataError(f"{source}: got the path {quoted(relative)}, expected one relative to {folder}")
    if ".." in relative and ".." in relative.replace("\\", "/").split("/"):
        raise DataError(f"{source}: got the path {quoted(relative)}, which leaves {folder}")
    return f"{folder}/{relative}"


def check_path(path: object, source: str) -> None:
    """Raise DataError, naming `source`, for what no path of an image can be, relative or not."""
    if not isinstance(path, str) or not path or len(path) > LONGEST_PATH:
        raise DataError(f"{source}: got the path {quoted(path)}, expected a text of at most {LONGEST_PATH} characters")
    if found := odd_character(path, path=True):
        raise DataError(f"{source}: got the path {quoted(path)}, which holds {found}; rename the file")


def leads_out(path: str | os.PathLike[str], *folders: str | os.PathLike[str]) -> bool:
    """Whether a path, links followed, lies in none of some folders, links followed."""
    real = os.path.realpath(path)
    bases = [base for folder in folders for base in _grounds(os.path.realpath(folder))]
    return not any(real == base or real.startswith(base.rstrip("/") + "/") for base in bases)


def _grounds(real: str) -> list[str]:
    """A folder; with the files beside it that a snapshot of Hugging Face's hub is links to (snapshots/REV, blobs)."""
    blobs = real.rpartition("/snapshots/")[0] + "/blobs"
    return [real, blobs] if "/snapshots/" in real and os.path.isdir(blobs) else [real]


def doubled_folder(path: str) -> str | None:
    """The folder within one of its own name that has the file which `path` lacks, as in cars_train/cars_train."""
    parts = path.split("/")
    for i in range(len(parts) - 1, 1, -1):
        folder = "/".join([*parts[:i], parts[i - 1]])
        if os.path.isfile("/".join([folder, *parts[i:]])):
            return folder
    return None


def linked_out(paths: Iterable[str], *folders: str) -> set[str]:
    """Those of some files that are, or lie behind, a link that leads out of all these folders."""
    paths, out = list(paths), {}
    for folder in {os.path.dirname(path) for path in paths}:
        out[folder] = leads_out(folder, *folders)
    return {
        path for path in paths if out[os.path.dirname(path)] or (os.path.islink(path) and leads_out(path, *folders))
    }


def relative_to(folder: str, path: str) -> str:
    """`path` relative to `folder`, with forward slashes."""
    if path.startswith(folder + "/"):
        return path[len(folder) + 1 :]
    return Path(os.path.relpath(path, folder)).as_posix()


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or kept by a system for itself."""
    return name[:1] == "." or name.lower() in SYSTEM_FOLDERS or name.lower() in SYSTEM_FILES


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the images in a folder, sorted; hidden files and files that are no images are left out.

    CoOp takes the order of `os.listdir`, which depends on the file system; sorted is the same everywhere.
    """
    with os.scandir(os.fspath(folder)) as entries:
        return _checked(sorted(e.name for e in entries if is_image(e.name)), folder)


def list_folders(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the sub-folders of a folder, sorted; hidden ones are left out."""
    with os.scandir(os.fspath(folder)) as entries:
        return _checked(sorted(e.name for e in entries if not is_system(e.name) and e.is_dir()), folder)


def _checked(names: list[str], folder: str | os.PathLike[str]) -> list[str]:
    for name in names:
        check_path(name, str(folder))
    return names
