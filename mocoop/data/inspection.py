"""Inspecting a user's image files once: which cannot be read, and which values the deep ones have.

The results are remembered in `<root>/.mocoop/images.json`, by size and date of each file.
"""

import errno
import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, cast

import numpy as np
from PIL import Image
from tqdm import tqdm

from mocoop.data.layout import scan
from mocoop.data.paths import leads_out, linked_out
from mocoop.errors import DataError, reason_of
from mocoop.files import atomic_write, read_json
from mocoop.images import MINMAX, open_image
from mocoop.pixels import WHITE, Reading, is_deep

log = logging.getLogger(__name__)

MEMORY, FORMAT = ".mocoop/images.json", 2
NOT_THERE = "no such file"
OUT = "a link that leads out of the folder; DATASET.FOLLOW_LINKS True follows it"
DARK, FLAT = 0.06, 0.01  # mean and deviation, of 0 to 1, below which a picture shows next to nothing


class ImageFacts(NamedTuple):
    """What one file is: `problem` says why it cannot be read, "" if it can; the rest is of deep pixels, else None.

    `low`, `high`, `mean` and `deviation` are in the file's own values, `white` is their full range's end.
    """

    problem: str = ""
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    white: float | None = None


def inspect_images(root: str, paths: Iterable[str], follow_links: bool = False) -> dict[str, ImageFacts]:
    """What each file is, by its path relative to `root`; links out of `root` count as unreadable unless followed."""
    known, stamps = _recall(root), {path: _stamp(f"{root}/{path}") for path in paths}
    out = set() if follow_links else linked_out((f"{root}/{path}" for path in stamps), root)
    all_facts = {path: ImageFacts(OUT) for path in stamps if f"{root}/{path}" in out}
    inside = [path for path in stamps if path not in all_facts]
    new = [path for path in inside if stamps[path] is None or known.get(path, ("",))[0] != stamps[path]]
    with ThreadPoolExecutor() as pool:
        seen = pool.map(_examine, (f"{root}/{path}" for path in new))
        bar = tqdm(seen, total=len(new), desc="looking at images", disable=None)
        known |= {path: (stamps[path], facts) for path, facts in zip(new, bar, strict=True)}
    if new:
        _remember(root, known)
    return all_facts | {path: known[path][1] for path in inside}


def common_range(all_facts: Iterable[ImageFacts]) -> tuple[float, float] | None:
    """The lowest and the highest value of all deep images; None if there is none, or they are all of one value."""
    low, high = _lowest_and_highest(list(all_facts))
    return (low, high) if low < high else None


def _lowest_and_highest(all_facts: Sequence[ImageFacts]) -> tuple[float, float]:
    """Of all values of deep images; 0 and 0 without one."""
    lows = [facts.low for facts in all_facts if facts.low is not None]
    highs = [facts.high for facts in all_facts if facts.high is not None]
    return min(lows, default=0.0), max(highs, default=0.0)


def about_deep_images(all_facts: Iterable[ImageFacts], reading: Reading) -> list[str]:
    """A line for each thing that is wrong with the pictures that deep images make: nearly black, nearly white, flat."""
    deep, faults, lines = [facts for facts in all_facts if facts.mean is not None], defaultdict(list), []
    for facts in deep:
        if fault := _fault(facts, reading):
            faults[fault, facts.low is None].append(facts)
    for (fault, shortened), found in faults.items():
        what = f"{fault}: {len(found)} of the {len(deep)} images with more than 8 bits"
        if shortened:
            lines.append(f"{what}; of 16 bits a colour the upper 8 are read: save them with 8 bits a colour")
            continue
        low, high = reading.black_and_white(cast(float, found[0].white))
        least, most = _lowest_and_highest(found)
        values = f"{least:g} to {most:g}"
        lines.append(
            f"{what}, with values from {values}; {low:g} is read as black, {high:g} as white, as DATASET.FOLDER.RANGE "
            f'says ("{MINMAX}" of all images, "full", or "low,high")'
        )
    return lines


def _fault(facts: ImageFacts, reading: Reading) -> str:
    """What is wrong with the picture that a deep image makes; "" if nothing is, or the image is not deep."""
    if facts.mean is None or facts.deviation is None or facts.white is None:
        return ""
    low, high = (0.0, facts.white) if facts.low is None else reading.black_and_white(facts.white)
    mean, deviation = (facts.mean - low) / (high - low), facts.deviation / (high - low)
    return "nearly black" if mean < DARK else "nearly white" if mean > 1 - DARK else "flat" if deviation < FLAT else ""


def why_missing(root: str, problems: dict[str, str]) -> str:
    """The likely cause where files are not there, after a semicolon: what a list calls them is not what they are."""
    missing = [path for path, problem in problems.items() if problem == NOT_THERE]
    if not missing:
        return ""
    asked = PurePosixPath(missing[0])
    if os.path.isabs(asked) or PureWindowsPath(missing[0]).drive:
        return f"; {len(missing)} paths are absolute and of another place than {root}: write them relative to it"
    for found in map(PurePosixPath, scan(root, []).all("images")):
        if found.name == asked.name:
            return (
                f"; but there is {found}: paths have to be relative to {root}, for {len(missing)} images they are not"
            )
        if found.stem == asked.name:
            return f"; but there is {found}: the paths lack the suffix, or the folder, of {len(missing)} images"
        if found.name.lower() == asked.name.lower():
            return f"; but there is {found}: capital letters count"
    return f"; {len(missing)} listed images are nowhere below {root}"


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return None


def _examine(path: str) -> ImageFacts:
    try:
        with open_image(path) as image:
            shortened = any(";16" in str(tile[3]) for tile in image.tile) and not is_deep(image)
            Reading(True, "white").rgb(image)
            return _values(image, shortened) if shortened or is_deep(image) else ImageFacts()
    except FileNotFoundError:
        return ImageFacts(NOT_THERE)
    except Exception as error:  # PIL's readers fail in many ways on damaged files
        return ImageFacts(reason_of(error))


def _values(image: Image.Image, shortened: bool) -> ImageFacts:
    """Of colours with 16 bits a channel PIL keeps 8: they are looked at, and no range helps them."""
    values = np.asarray(image.convert("RGB") if shortened else image, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return ImageFacts("it holds no finite number")
    statistics = float(values.mean()), float(values.std())
    if shortened:
        return ImageFacts("", None, None, *statistics, 255.0)
    return ImageFacts("", float(values.min()), float(values.max()), *statistics, WHITE[image.mode[0]])


def _recall(root: str) -> dict[str, tuple[list[int] | None, ImageFacts]]:
    try:
        content = read_json(Path(root, MEMORY))
        entries = content["images"].items() if content["format"] == FORMAT else ()
        return {path: (stamp, facts) for path, (stamp, *values) in entries if _is_sound(facts := ImageFacts(*values))}
    except (DataError, AttributeError, TypeError, ValueError, KeyError):
        return {}


def _is_sound(facts: ImageFacts) -> bool:
    """Whether it has no number, or all of a deep image, whose lowest and highest may be missing together."""

    def are_numbers(values: Sequence[object]) -> bool:
        return all(isinstance(value, float) and math.isfinite(value) for value in values)

    span, others = facts[1:3], facts[3:]
    is_deep = are_numbers(others) and (facts.white or 0) > 0 and (span == (None, None) or are_numbers(span))
    return isinstance(facts.problem, str) and (is_deep or span + others == (None,) * 5)


def _remember(root: str, known: dict[str, tuple[list[int] | None, ImageFacts]]) -> None:
    memory = Path(root, MEMORY)
    try:
        if leads_out(memory.parent, root):  # what is there is not ours
            raise OSError(errno.ELOOP, "a folder on its way is a link that leads out of the data root")
        with atomic_write(memory) as file:
            images = {path: [stamp, *facts] for path, (stamp, facts) in known.items() if stamp}
            json.dump({"format": FORMAT, "images": images}, file)
    except OSError as error:
        log.warning("the images will be looked at again next time: %s: %s", memory, error.strerror)
