"""The few-shot subset of a run: one made elsewhere if DATASET.SPLITS names its folder; else the stored one if there is
one, else drawn and stored.

Stored as `split_fewshot/shot_<K>-seed_<S>.jsonl` in the dataset's folder; CoOp's pickle of the same name is read where
there is no text manifest yet.
"""

import logging
from itertools import chain
from pathlib import Path

from mocoop.data.draws import draw_subset
from mocoop.data.exchange import read_pickled_subset, read_subset
from mocoop.data.item import Splits
from mocoop.data.lists import Record, encode_manifest, match_records, read_manifest, tails
from mocoop.data.paths import leads_out
from mocoop.errors import DataError, one_line, quoted
from mocoop.files import write_file

log = logging.getLogger(__name__)

FOLDER = "split_fewshot"


def subset_path(folder: Path, shots: int, seed: int) -> Path:
    """Where the manifest of a subset is kept, in the dataset's folder of subsets."""
    return folder / f"shot_{shots}-seed_{seed}.jsonl"


def few_shot_subset(splits: Splits, shots: int, seed: int, folder: Path, image_dir: str) -> Splits:
    """`splits` with training and validation reduced to the few-shot subset of `shots` and `seed`, kept in `folder`.

    A negative seed draws a new subset every time and stores none. Raises DataError for a stored subset that is damaged
    or belongs to another split.
    """
    manifest = subset_path(folder, shots, seed)
    pickled = manifest.with_suffix(".pkl")
    if seed >= 0 and manifest.exists():
        return take_records(splits, read_manifest(manifest), str(manifest), image_dir)
    if seed >= 0 and pickled.exists():
        log.info("taking the few-shot subset from %s", pickled)
        splits = take_records(splits, read_pickled_subset(pickled), str(pickled), image_dir)
    else:
        train, val = draw_subset(splits.train, splits.val, shots, seed)
        splits = splits._replace(train=train, val=val)
    if seed >= 0:
        store_subset(manifest, encode_manifest(splits.train, splits.val, image_dir))
    return splits


def subset_made_elsewhere(
    splits: Splits, shots: int, seed: int, folder: str, own_folder: Path, image_dir: str
) -> Splits:
    """`splits` with training and validation reduced to the subset of `shots` and `seed` in DATASET.SPLITS.

    It is looked for in <folder>/<dataset>/split_fewshot (as `own_folder` ends, where the dataset keeps its own),
    <folder>/<dataset> and <folder>, in any format of `exchange`.
    Raises DataError if there is none, and for one that names an image that is not there or belongs to another split.
    """
    ending = portable_folder(own_folder)
    stem, own = f"shot_{shots}-seed_{seed}", Path(folder).expanduser() / ending.parts[0]
    names = [f"{stem}{suffix}" for suffix in (".jsonl", ".pkl", "_train.jsonl")]
    found = [
        place / name for place in (own.parent / ending, own, own.parent) for name in names if (place / name).is_file()
    ]
    if not found:
        raise DataError(
            f"DATASET.SPLITS: no subset {stem} in {folder}, expected {', '.join(names)} in it or in "
            f"{own.parent / ending}"
        )
    taken = take_records(splits, read_subset(found[0]), str(found[0]), image_dir)
    for item in chain(taken.train, taken.val or ()):
        if not Path(item.impath).is_file():
            raise DataError(f"{found[0]}: there is no image {item.impath}")
    log.info("the few-shot subset is that of %s", found[0])
    return taken


def portable_folder(subset_folder: Path) -> Path:
    """The end of a dataset's folder of subsets that is the same below any root: <dataset>/split_fewshot[/<list>]."""
    return Path(*subset_folder.parts[len(subset_folder.parts) - subset_folder.parts[::-1].index(FOLDER) - 2 :])


def take_records(splits: Splits, records: dict[str, list[Record]], source: str, image_dir: str) -> Splits:
    """`splits` with training and validation reduced to what the records of a subset file, `source`, name.

    Raises DataError for a record that is not among the training and validation images, and for a class without a
    training image: the base and new classes would not be those of the split.
    """
    wanted = {tail for part in records.values() for record in part for tail in tails(record.path)}
    start = len(image_dir) + 1
    items = chain(splits.val or (), splits.train)
    known = {path: item for item in items if (path := item.impath[start:]) in wanted}
    val = None if splits.val is None else match_records(records["val"], known, source)
    train = match_records(records["train"], known, source)
    present = {item.label for item in train}
    if absent := {item.label: item.classname for item in splits.train if item.label not in present}:
        names = one_line(", ".join(map(quoted, absent.values())), 160)
        raise DataError(
            f"{source}: got no training image of {names}, expected at least one of each class; if the class came "
            "later, move the file away to draw a new subset"
        )
    return splits._replace(train=train, val=val)


def store_subset(path: Path, text: str) -> None:
    """Write a manifest; a folder that cannot be written to is a warning, since the same draw can be made again."""
    if leads_out(path.parent, path.parents[1]):
        log.warning("the few-shot subset is not stored: %s is a link that leads out of the data root", path.parent)
        return
    try:
        write_file(path, text)
    except OSError as error:
        log.warning("the few-shot subset is not stored: %s: %s", path, error.strerror)
