"""A user's folders of images: which are classes, which are splits, and what in them is left out.

Archives wrap folders in folders, name them `seg_train` or `Training`, and systems put thumbnails beside the images;
whatever is decided here and could be meant otherwise is a note for the user.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mocoop.data.paths import check_path, is_system, leads_out
from mocoop.errors import DataError, one_line, quoted
from mocoop.images import is_image, why_no_image
from mocoop.names import name_problem

SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
SPLIT_NAMES |= {name: name for name in ("train", "val", "test")}
NO_CLASS = ("split_fewshot", "downloads", "output")  # folders of the data root that hold no class


class Row(NamedTuple):
    """An image, by its path relative to the root, with the name of its label, its split and its domain ("" if none)."""

    path: str
    label: str
    split: str = ""
    domain: str = ""


@dataclass
class Folder:
    """A folder below the root; paths are relative to the root, all in sorted order, what systems hide left out."""

    path: str
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def classes(self) -> list["Folder"]:
        """The folders in it that hold images, at any depth."""
        return [folder for folder in self.folders if folder.path not in NO_CLASS and any(folder.all("images"))]

    def all(self, kind: str) -> Iterator[str]:
        """Its `images` or `others`, then those of the folders below it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield from getattr(folder, kind)
            waiting.extend(reversed(folder.folders))


def read_class_folders(root: str, notes: list[str], follow_links: bool = False) -> list[Row]:
    """The images of `root/<class>/` or of `root/<train, val or test>/<class>/`, by class in sorted order.

    Classes may have folders of their own, and a folder that holds nothing but another may stand anywhere. Appends what
    was decided and left out to `notes`. Raises DataError when there are no class folders.
    """
    top = _unwrapped(scan(root, notes, follow_links), notes)
    if splits := _splits(top, root):
        parts = [(_unwrapped(folder, notes), split) for folder, split in splits]
        rows = [row for part, split in parts for row in _classes(root, part.classes, split)]
        places, used = [part for part, _ in parts], {f.path for f, _ in splits if f.classes}
        skipped = [folder for folder in top.folders if folder.path not in used]
        if len({split for part, split in parts if part.classes}) == 1:
            notes.append(f"only {min(used)}/ has class folders: its images are split into train, val and test")
            rows = [row._replace(split="") for row in rows]
    elif rows := _class_then_split(top, root):
        places, skipped = top.folders, []
    else:
        _note_equal_folders(top, notes)
        rows = list(_classes(root, top.classes))
        places, skipped = [top], [folder for folder in top.folders if folder.path in NO_CLASS]
    notes += _left_out(places)
    if not rows:
        raise DataError(f"{root}: got no folder with images, expected one for each class, or DATASET.FOLDER.CSV")
    if top.images:
        notes.append(f"left out, in no class folder: {len(top.images)} images such as {top.images[0]}")
    for folder in skipped:
        if any(folder.all("images")):
            notes.append(f"left out, no class: the images in {folder.path}/")
    return rows


def scan(root: str, notes: list[str], follow_links: bool = False) -> Folder:
    """All that lies below `root`. Folders that are links out of it are left out, with a note, unless followed."""
    top, followed = Folder(""), {os.path.realpath(root)}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(os.path.join(root, folder.path)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            notes.append(f"left out, cannot be listed: {folder.path}/ ({error.strerror})")
            continue
        for entry in entries:
            if is_system(entry.name):
                continue
            path = f"{folder.path}/{entry.name}".lstrip("/")
            if not entry.is_dir():
                (folder.images if is_image(entry.name) else folder.others).append(path)
                continue
            if entry.is_symlink():
                if not follow_links and leads_out(entry.path, root):
                    notes.append(
                        f"left out, a link to a folder elsewhere: {path} (DATASET.FOLLOW_LINKS True follows it)"
                    )
                    continue
                if os.path.realpath(entry.path) in followed:
                    continue
                followed.add(os.path.realpath(entry.path))
            folder.folders.append(Folder(path))
        waiting += folder.folders
    return top


def _unwrapped(folder: Folder, notes: list[str]) -> Folder:
    """The folder that holds several folders with images, where this one holds nothing but a way to it."""
    inner = folder
    while len(inner.classes) == 1 and not inner.images:
        inner = inner.classes[0]
    if inner is folder or len(inner.classes) < 2 or inner.images:
        return folder
    notes.append(
        f"the folders of classes are taken from {inner.path}/, since {folder.path or 'the root'} holds only it"
    )
    return inner


def _splits(top: Folder, root: str) -> list[tuple[Folder, str]]:
    """(folder, train, val or test) where folders are splits: a train with classes in it, under any of its names."""
    exact = [(f, SPLIT_NAMES[f.name.lower()]) for f in top.folders if f.name.lower() in SPLIT_NAMES]
    similar = [(f, split) for f in top.folders if (split := _split_in(f.name)) and f.classes]
    shared = [{inner.name for inner in _unwrapped(f, []).classes} for f, _ in similar]
    if len({split for _, split in similar}) < 2 or not set.intersection(*shared):
        return exact if any(split == "train" and folder.classes for folder, split in exact) else []
    if "train" not in {split for _, split in similar}:
        names = " and ".join(f.path for f, _ in similar)
        raise DataError(f"{root}: got {names} with the same classes, expected a folder train beside them")
    return similar + [(f, split) for f, split in exact if not f.classes]


def _split_in(name: str) -> str:
    """The split that one word of a folder's name stands for, as in seg_train or "test images"; else ""."""
    found = {SPLIT_NAMES[word] for word in re.findall("[a-z]+", name.lower()) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else ""


def _class_then_split(top: Folder, root: str) -> list[Row]:
    """The rows of `root/<class>/<split>/`, or none where that is not the layout."""
    inner = [folder for f in top.classes for folder in f.folders]
    if not inner or any(f.images for f in top.classes) or any(f.name.lower() not in SPLIT_NAMES for f in inner):
        return []
    if len({SPLIT_NAMES[folder.name.lower()] for folder in inner}) < 2:
        return []
    return [
        row._replace(label=clean_name(f.name, f"{root}/{f.path}"))
        for f in top.classes
        for part in f.folders
        for row in _classes(root, [part], SPLIT_NAMES[part.name.lower()])
    ]


def _note_equal_folders(top: Folder, notes: list[str]) -> None:
    inner = [tuple(folder.name for folder in f.classes) for f in top.classes]
    if len(inner) > 1 and len(set(inner)) == 1 and len(inner[0]) > 1 and not any(f.images for f in top.classes):
        outer = ", ".join(f.name for f in top.classes[:3])
        notes.append(
            f"each of the {len(inner)} classes ({outer}, ...) has the folders {one_line(', '.join(inner[0]), 120)}: "
            "if these are the classes, call the outer folders train, val and test, or list the images in a csv"
        )


def _classes(root: str, folders: Iterable[Folder], split: str = "") -> Iterator[Row]:
    for folder in folders:
        label = clean_name(folder.name, f"{root}/{folder.path}")
        for path in sorted(folder.all("images")):
            check_path(path, root)
            yield Row(path, label, split)


def _left_out(places: Iterable[Folder]) -> list[str]:
    """What is left out of class folders: files that are no images, and folders without any."""
    folders = [folder for place in places for folder in place.folders if folder.path not in NO_CLASS]
    notes = left_out_files(path for folder in folders for path in folder.all("others"))
    if without := [folder.path for folder in folders if not any(folder.all("images"))]:
        notes.append(f"left out, without a single image: the folders {one_line(', '.join(map(quoted, without)), 200)}")
    return notes


def left_out_files(paths: Iterable[str]) -> list[str]:
    """A line for each suffix of files that are no images."""
    by_suffix, lines = defaultdict(list), []
    for path in sorted(paths):
        by_suffix[os.path.splitext(path)[1].lower()].append(path)
    for suffix, found in sorted(by_suffix.items()):
        what = f"{len(found)} {suffix or 'file'}{' file' if suffix else ''}{'s' if len(found) > 1 else ''}"
        lines.append(one_line(f"left out, {why_no_image(suffix)}: {what} such as {found[0]}"))
    return lines


def clean_name(text: str, source: str) -> str:
    """A name in one form for all that look the same: file systems write accents in several ways."""
    if problem := name_problem(text):
        raise DataError(f"{source}: the name {quoted(text)} {problem}")
    return unicodedata.normalize("NFC", text)
