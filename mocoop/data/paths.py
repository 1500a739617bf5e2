"""Where a dataset's files are: relative paths that stay inside their folder, and listings in a fixed order."""

import os
from pathlib import Path

from mocoop.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def join_inside(folder: str, relative: str, source: str) -> str:
    """Absolute path of `relative` under `folder`.

    Raises DataError, naming `source`, when the path is absolute or climbs out of the folder with "..".
    """
    if not relative or relative.startswith(("/", "\\")) or "\0" in relative or relative[1:3] == ":\\":
        raise DataError(f"{source}: got the path {relative!r}, expected one relative to {folder}")
    if ".." in relative and ".." in relative.replace("\\", "/").split("/"):
        raise DataError(f"{source}: got the path {relative!r}, which leaves {folder}")
    return f"{folder}/{relative}"


def relative_to(folder: str, path: str) -> str:
    """`path` relative to `folder`, with forward slashes."""
    if path.startswith(folder + "/"):
        return path[len(folder) + 1 :]
    return Path(os.path.relpath(path, folder)).as_posix()


def list_images(folder: str | os.PathLike) -> list[str]:
    """Names of the images in a folder, sorted; hidden files and files that are no images are left out.

    CoOp takes the order of `os.listdir`, which depends on the file system; sorted is the same everywhere.
    """
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name[:1] != "." and e.name.lower().endswith(IMAGE_SUFFIXES))


def list_folders(folder: str | os.PathLike) -> list[str]:
    """Names of the sub-folders of a folder, sorted; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name[:1] != "." and e.is_dir())
