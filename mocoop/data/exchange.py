"""Few-shot subsets in other projects' files: CoOp's pickle, and the two jsonl files of 2SFS (arXiv 2503.11609)."""

import json
import re
from pathlib import Path

from mocoop.data.annotations import parse_lines
from mocoop.data.item import Item, checked_label
from mocoop.data.manifest import Record, encode_manifest, read_manifest
from mocoop.data.paths import check_path, relative_to
from mocoop.data.pickled import pickled_subset, read_pickled_subset
from mocoop.files import check_unused, parse_json, write_file

FORMATS = ("manifest", "coop", "2sfs")


def shots_and_seed(path: Path) -> tuple[int, int] | None:
    """The shots and seed in a name such as shot_16-seed_1_train.jsonl; None when it has none."""
    found = re.search(r"shot_(\d+)-seed_(-?\d+)", path.name)
    return (int(found[1]), int(found[2])) if found else None


def read_subset(path: Path) -> dict[str, list[Record]]:
    """The records of a subset in any of the formats, recognised by the file's name and content.

    Of 2SFS's pair either file may be given; the other is read from beside it.
    """
    if path.suffix == ".pkl":
        return read_pickled_subset(path)
    pair = re.fullmatch(r"(.*)_(train|val)\.jsonl", path.name)
    if pair:
        return {split: _read_2sfs(path.with_name(f"{pair[1]}_{split}.jsonl")) for split in ("train", "val")}
    return read_manifest(path)


def _read_2sfs(path: Path) -> list[Record]:
    def record(line: str) -> Record:
        entry = parse_json(line)
        check_path(entry["_impath"], str(path))
        return Record(entry["_impath"], checked_label(entry["_label"]), None)

    return parse_lines(path, record, "an object with _impath and _label")


def write_subset(
    form: str, stem: Path, train: list[Item], val: list[Item] | None, image_dir: str, root: str
) -> list[Path]:
    """Write a subset as `stem` plus the suffixes of the format; returns the files. Raises ConfigError if one exists."""
    suffixes = {"manifest": (".jsonl",), "coop": (".pkl",), "2sfs": ("_train.jsonl", "_val.jsonl")}[form]
    paths = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    for path in paths:
        check_unused(path, advice="move it away or choose another --output")
    if form == "coop":
        write_file(paths[0], pickled_subset(train, val))
    elif form == "manifest":
        write_file(paths[0], encode_manifest(train, val, image_dir))
    else:
        for path, items in zip(paths, (train, val or []), strict=True):
            write_file(path, "".join(_2sfs_line(item, root) for item in items))
    return paths


def _2sfs_line(item: Item, root: str) -> str:
    entry = {"_impath": relative_to(root, item.impath), "_label": item.label, "_domain": item.domain}
    return json.dumps({**entry, "_classname": item.classname}) + "\n"
