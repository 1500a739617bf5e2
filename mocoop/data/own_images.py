"""A user's own images as a dataset: class folders or a csv, read, inspected, split and named."""

import logging
import os
import shlex
from collections import Counter
from itertools import chain
from pathlib import Path

from yacs.config import CfgNode

from mocoop.data.base import BenchmarkDataset
from mocoop.data.config import BAD_IMAGES, add_data_config
from mocoop.data.draws import make_rng, split_off_val, split_stratified
from mocoop.data.image_csv import label_order, read_class_names, read_image_csv
from mocoop.data.inspection import about_deep_images, common_range, inspect_images, why_missing
from mocoop.data.item import Item, Splits, class_names, code_like_names
from mocoop.data.layout import Row, read_class_folders
from mocoop.data.lists import read_split, write_split
from mocoop.errors import ConfigError, DataError, one_line, quoted
from mocoop.images import FULL, MINMAX, own_reading

log = logging.getLogger(__name__)

SHOWN = 5  # unreadable images that are named


class OwnImages(BenchmarkDataset):
    """The images below the data root, set up by DATASET.FOLDER.* (mocoop/data/config.py).

    Where the images come without a split, one is drawn once and kept as `split_zhou_<key>.json` in the root.
    """

    def __init__(self, cfg: CfgNode):
        was_frozen = cfg.is_frozen()
        cfg.defrost()  # DATASET.FOLDER.READ is set
        add_data_config(cfg)
        try:
            super().__init__(cfg)
        finally:
            for note in self.notes:
                log.warning("%s", one_line(note))
            if was_frozen:
                cfg.freeze()

    def _configure(self, node: CfgNode) -> None:
        super()._configure(node)
        self.settings = node.FOLDER

    @classmethod
    def expected(cls) -> str:
        return "one folder of images for each class, or a csv named by DATASET.FOLDER.CSV"

    @property
    def key(self) -> str:
        """What tells this list of images from others of the same folder: the csv's name, or the dataset's."""
        return str(Path(self.settings.CSV).with_suffix("")).replace("/", "-") if self.settings.CSV else self.name

    @property
    def subset_folder(self) -> Path:
        return super().subset_folder / self.key if self.settings.CSV else super().subset_folder

    def load_splits(self, store: bool = True) -> Splits:
        rows = self._readable(self._rows())
        self._domain_of = {row.path: row.domain for row in rows if row.domain}
        items = self._items(rows)
        given = {row.split for row in rows}
        if "" not in given:
            splits = self._given_split(items, [row.split for row in rows])
        elif given == {""}:
            splits = self._kept_split(items, store)
        else:
            raise DataError(f"{self.dataset_dir}: got a split for some images only, expected one for all or none")
        self._check_classes(splits, items)
        self._find_range(splits)
        return self._with_domains(splits)

    def read_domains(self) -> dict[str, str]:
        return self._domain_of

    def name_notes(self, names: list[str]) -> list[str]:
        return super().name_notes(names) + code_like_names(names)

    def _missing(self, path: str, expected: str) -> DataError:
        return DataError(f"{self.name}: {path} does not exist, expected {self.expected()}; pass it as --root")

    def _rows(self) -> list[Row]:
        if self.settings.CSV:
            path = os.path.join(self.dataset_dir, self.settings.CSV)
            return read_image_csv(path, self.dataset_dir, self.settings.CSV_COLUMNS)
        return read_class_folders(self.dataset_dir, self.notes, self.follow_links)

    def _readable(self, rows: list[Row]) -> list[Row]:
        node = self.settings
        if node.BAD_IMAGES not in BAD_IMAGES:
            raise ConfigError(f"DATASET.FOLDER.BAD_IMAGES is {node.BAD_IMAGES!r}, expected one of {BAD_IMAGES}")
        self._facts = inspect_images(self.dataset_dir, [row.path for row in rows], self.follow_links)
        self.unreadable = bad = {path: facts.problem for path, facts in self._facts.items() if facts.problem}
        if not bad:
            return rows
        shown = ", ".join(f"{path} ({problem})" for path, problem in list(bad.items())[:SHOWN])
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        cause = why_missing(self.dataset_dir, bad)
        if len(bad) == len(rows):
            raise DataError(
                f"{self.dataset_dir}/{node.CSV}: none of its {len(rows)} images can be read, {next(iter(bad))} for one "
                f"({next(iter(bad.values()))}){cause}"
            )
        if node.BAD_IMAGES == "error":
            raise DataError(
                f"cannot be read: {shown}{more}{cause}; fix or remove them, or set DATASET.FOLDER.BAD_IMAGES skip"
            )
        self.notes.append(one_line(f"left out, cannot be read: {shown}{more}{cause}"))
        readable = [row for row in rows if row.path not in bad]
        if lost := sorted({row.label for row in rows} - {row.label for row in readable}):
            names = one_line(", ".join(map(quoted, lost)), 160)
            self.notes.append(f"left out, without a readable image: the classes {names}")
        return readable

    def _find_range(self, splits: Splits) -> None:
        """Set DATASET.FOLDER.READ: the range of deep images, one for all that are in the splits."""
        start, node = len(self.image_dir) + 1, self.settings
        facts = [self._facts[item.impath[start:]] for item in chain(splits.train, splits.val or (), splits.test)]
        node.READ = node.RANGE
        if node.RANGE == MINMAX:
            found = common_range(facts)
            node.READ = f"{found[0]:.10g},{found[1]:.10g}" if found else FULL
        self.reading = own_reading(node.READ, node.BACKGROUND)
        self.notes += about_deep_images(facts, self.reading)

    def _items(self, rows: list[Row]) -> list[Item]:
        names = {label: label for label in label_order(row.label for row in rows)}
        if self.settings.CLASSNAMES:
            path = os.path.join(self.dataset_dir, self.settings.CLASSNAMES)
            chosen = read_class_names(path)
            unnamed = [label for label in names if label not in chosen]
            if unnamed:
                raise DataError(f"{path}: no class name for the label {unnamed[0]!r}, expected one for each label")
            names = {label: name for label, name in chosen.items() if label in names}
        index = {label: number for number, label in enumerate(names)}
        return [Item(f"{self.dataset_dir}/{row.path}", index[row.label], names[row.label]) for row in rows]

    def _given_split(self, items: list[Item], splits: list[str]) -> Splits:
        parts = {
            part: [item for item, split in zip(items, splits, strict=True) if split == part]
            for part in ("train", "val", "test")
        }
        if parts["val"] and not parts["test"]:
            parts["test"], parts["val"] = parts["val"], []
            note = "no test images are given: the validation images are the test, and a fifth of train validates"
            self.notes.append(note)
        for part in ("train", "test"):
            if not parts[part]:
                raise DataError(f"{self.dataset_dir}: got no image to {part} on, expected train, test, optionally val")
        if not parts["val"]:
            parts["train"], parts["val"] = split_off_val(parts["train"], make_rng(self.settings.SPLIT_SEED))
        return Splits(**parts)

    def _kept_split(self, items: list[Item], store: bool) -> Splits:
        path = Path(self.dataset_dir, f"split_zhou_{self.key}.json")
        if not path.exists():
            splits = split_stratified(items, make_rng(self.settings.SPLIT_SEED))
            if not store:
                return splits
            write_split(path, splits, self.image_dir)
        print(f"Reading split from {path}")
        current = {item.impath: item for item in items}
        kept = [part or [] for part in read_split(path, self.image_dir)]
        splits = Splits(*([current[item.impath] for item in part if item.impath in current] for part in kept))
        self._check_same_classes(items, list(chain(*kept)), path)
        if extra := len(current.keys() - {item.impath for part in kept for item in part}):
            self.notes.append(f"{extra} images are not used, since they are not in {path}; delete it to split anew")
        return splits

    def _check_same_classes(self, items: list[Item], kept: list[Item], path: Path) -> None:
        """Raise DataError where a class has no image in the kept split: it was added, or renamed, since."""
        in_split = {item.impath for item in kept}
        present = {item.label for item in items if item.impath in in_split}
        if added := sorted({item.classname for item in items if item.label not in present}):
            there = {item.impath for item in items}
            left = {item.classname for item in kept if item.impath in there}
            gone = sorted({item.classname for item in kept} - left - {item.classname for item in items})
            renamed = f", and has {one_line(', '.join(map(quoted, gone)), 120)}, gone since" if gone else ""
            raise DataError(
                f"{path} was drawn before there was the class {one_line(', '.join(map(quoted, added)), 120)}{renamed}; "
                "to split anew (other test images than before) run: "
                f"rm -r {shlex.quote(str(path))} {shlex.quote(str(self.subset_folder))}"
            )

    def _check_classes(self, splits: Splits, items: list[Item]) -> None:
        for part, images in (("train", splits.train), ("test", splits.test)):
            present = {item.label for item in images}
            for name in dict.fromkeys(item.classname for item in items if item.label not in present):
                if part == "train":
                    raise DataError(
                        f"{self.dataset_dir}: class {name!r} has no readable image to train on; add some or "
                        "remove the class"
                    )
                self.notes.append(f"class {name!r} has no image to test on")

    def survey(self) -> dict[str, list[int]]:
        """The images of each class in train, val and test, in label order; nothing is written in the data root.

        Raises DataError for all that a training would refuse.
        """
        splits = self.load_splits(store=False)
        if not splits.test:
            raise DataError(f"{self.dataset_dir}: no class has an image to test on, expected two images in some")
        names = class_names(splits.train, self.name)
        self.notes += self.name_notes(names)
        if len(names) == 1:
            self.notes.append("one class alone: there is nothing to tell apart, and there are no new classes")
        counts = [Counter(item.label for item in part or ()) for part in splits]
        return {name: [count[label] for count in counts] for label, name in enumerate(names)}
