"""Writing a Shapes set as files in CoOp's layout.

    <set>/images/red_striped_circle/train_00.png ...
    <set>/split_zhou_<Name>.json     train, val and test: [path, label, class name]
    <set>/metadata.csv               path, style
    <set>/about.json                 which set and version this is

A set is written into a hidden folder beside its own and renamed when complete: what is there under its name is whole,
and of several processes that start at once the first one to finish wins.
"""

import csv
import io
import json
import logging
import os
import secrets
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mocoop.errors import DataError, one_line, quoted, reason_of
from mocoop.files import read_json, read_text
from mocoop.shapes.render import render
from mocoop.shapes.sets import DATA_VERSION, ShapesSet, shown_objects
from mocoop.shapes.vocabulary import STYLES

log = logging.getLogger(__name__)

IMAGES, METADATA, ABOUT = "images", "metadata.csv", "about.json"
SPLITS = ("train", "val", "test")


def ensure_set(shapes_set: ShapesSet, folder: str | os.PathLike) -> None:
    """Write the set to `folder` unless it is there.

    Raises DataError when what is there is no set of this version, or when the set cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        _check(shapes_set, folder)
        return
    log.info("making the procedural set %s in %s", shapes_set.name, folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        write_set(shapes_set, temporary)
        _publish(temporary, folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}), expected a folder for the {shapes_set.name} "
            "pictures; pass another --root"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_set(shapes_set: ShapesSet, folder: Path) -> None:
    """Write a set's files to `folder`, which must not exist. The same set gives the same pictures."""
    folder.mkdir(parents=True)
    split, styles = {}, []
    for part, per_class in shapes_set.sizes.items():
        rows, style_codes = _write_pictures(shapes_set, part, per_class, folder / IMAGES)
        split[part] = rows
        styles += [(row[0], STYLES[code]) for row, code in zip(rows, style_codes, strict=True)]
    # A set for testing only lends its test pictures for the class names, as CoOp's ImageNet variants do.
    split = {part: split.get(part, split["test"] if part == "train" else []) for part in SPLITS}
    (folder / f"split_zhou_{shapes_set.name}.json").write_text(json.dumps(split, indent=0), encoding="utf-8")
    with open(folder / METADATA, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "style"), *styles])
    (folder / ABOUT).write_text(json.dumps(_about(shapes_set)) + "\n", encoding="utf-8")


def read_styles(folder: str | os.PathLike) -> dict[str, str]:
    """Style of each picture, by its path relative to the folder of images. Raises DataError for a damaged file."""
    path = Path(folder) / METADATA
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        styles = {row["path"]: row["style"] for row in rows}
        if unknown := [style for style in styles.values() if style not in STYLES]:
            raise ValueError(f"unknown style {quoted(unknown[0])}")
        return styles
    except (DataError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}: got no readable table ({reason_of(error)}), expected path,style; remove "
            f"{folder} to have it made again"
        ) from error


def _write_pictures(shapes_set: ShapesSet, part: str, per_class: int, images: Path) -> tuple[list, np.ndarray]:
    """Draw and write one split: its rows [path, label, class name], and its style codes, (N,)."""
    rng = np.random.default_rng((DATA_VERSION, shapes_set.seed, SPLITS.index(part)))
    names, shares = zip(*shapes_set.styles, strict=True)
    labels = np.repeat(np.arange(len(shapes_set.classes)), per_class)
    codes = np.array([STYLES.index(name) for name in names])[rng.choice(len(names), size=len(labels), p=shares)]
    objects = np.array(shapes_set.classes)[labels]
    if shapes_set.conflict:
        objects = shown_objects(np.array(shapes_set.classes), labels, codes, shapes_set.conflict, rng)
    colours, textures, shapes = objects.T
    pictures = render(colours, textures, shapes, codes, rng, shapes_set.tint)
    rows = []
    for number, (label, picture) in enumerate(zip(labels.tolist(), pictures, strict=True)):
        classname = shapes_set.classnames[label]
        path = images / classname.replace(" ", "_") / f"{part}_{number % per_class:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, compress_level=1)
        rows.append([path.relative_to(images).as_posix(), label, classname])
    return rows, codes


def _about(shapes_set: ShapesSet) -> dict:
    return {"set": shapes_set.name, "data_version": DATA_VERSION}


def _check(shapes_set: ShapesSet, folder: Path) -> None:
    try:
        found = read_json(folder / ABOUT)
    except DataError:
        found = "no readable about.json"
    expected = _about(shapes_set)
    if found != expected:
        found = one_line(found, 80)
        raise DataError(f"{folder}: got {found}, expected {expected}; remove the folder to have it made again")


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.exists():  # else another process was first, with the same pictures
            raise
