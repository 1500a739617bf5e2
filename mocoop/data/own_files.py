"""Looking at a user's image files once: which cannot be read, and which need a copy to be read as they look.

Readers that only call PIL's `convert("RGB")` show photographs on their side that carry a rotation (EXIF), and clip
images of 16 bits a channel to white. Such images get an 8-bit upright PNG below `<root>/.mocoop/`; originals are never
changed. What was seen is remembered there too, by size and date of each file.
"""

import errno
import json
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from mocoop.data.paths import leads_out
from mocoop.errors import DataError, reason_of
from mocoop.files import atomic_write, read_json
from mocoop.images import open_image

log = logging.getLogger(__name__)

FOLDER = ".mocoop"
ORIENTATION = 0x0112  # EXIF tag
FINE, COPIED = "fine", "copied"


def look_at(root: str, paths: Iterable[str]) -> dict[str, str]:
    """What is known of each file, by its path relative to `root`: "fine", "copied", or why it cannot be read."""
    memory = Path(root, FOLDER, "images.json")
    known = _recall(memory)
    stamps = {path: _stamp(f"{root}/{path}") for path in paths}

    def is_known(path: str) -> bool:
        stamp, verdict = known.get(path, (None, ""))
        return stamp == stamps[path] and (verdict != COPIED or Path(copy_of(root, path)).exists())

    new = [path for path in stamps if stamps[path] is None or not is_known(path)]
    with ThreadPoolExecutor() as pool:
        verdicts = pool.map(lambda path: _examine(root, path), new)
        bar = tqdm(verdicts, total=len(new), desc="looking at images", disable=None)
        known |= {path: [stamps[path], verdict] for path, verdict in zip(new, bar, strict=True)}
    if new:
        _remember(memory, known)
    return {path: known[path][1] for path in stamps}


def copy_of(root: str, path: str) -> str:
    """Where the upright 8-bit copy of an image is kept."""
    return f"{root}/{FOLDER}/upright/{path}.png"


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return None


def _examine(root: str, path: str) -> str:
    if leads_out(f"{root}/{path}", root):
        return "a link that leads out of the folder"
    try:
        with open_image(f"{root}/{path}") as image:
            image.load()
            deep = image.mode.startswith(("I", "F"))
            if not deep and image.getexif().get(ORIENTATION, 1) == 1:
                image.convert("RGB")
                return FINE
            upright = ImageOps.exif_transpose(_eight_bit(image) if deep else image).convert("RGB")
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # PIL's readers of a hundred formats fail in many ways on damaged files
        return reason_of(error)
    try:
        with atomic_write(_inside(root, copy_of(root, path)), "wb") as file:
            upright.save(file, "PNG")
        return COPIED
    except OSError as error:
        log.warning("%s is read as it is, deep colours clipped and unrotated: no copy can be written (%s)", path, error)
        return FINE


def _eight_bit(image: Image.Image) -> Image.Image:
    """A grey image of 16 or 32 bits or of fractions, in 8 bits."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values.clip(0, top) * (255.0 / top)).round().astype(np.uint8))


def _inside(root: str | Path, path: str | Path) -> str | Path:
    """`path`; OSError where a folder on the way is a link that leads out of `root`: what is there is not ours."""
    if leads_out(os.path.dirname(path), root):
        raise OSError(errno.ELOOP, "a folder on its way is a link that leads out of the data root")
    return path


def _recall(memory: Path) -> dict:
    try:
        known = read_json(memory)
        return {path: entry for path, entry in known.items() if len(entry) == 2 and isinstance(entry[1], str)}
    except (DataError, AttributeError, TypeError, KeyError):
        return {}


def _remember(memory: Path, known: dict) -> None:
    try:
        with atomic_write(_inside(memory.parents[1], memory)) as file:
            json.dump(known, file, ensure_ascii=False)
    except OSError as error:
        log.warning("the images will be looked at again next time: %s: %s", memory, error.strerror)
