"""A user's own images as a dataset: class folders or a csv, read, looked at, split and named."""

import logging
import os
from collections import Counter
from itertools import chain
from pathlib import Path

from mocoop.data.base import BenchmarkDataset
from mocoop.data.config import BAD_IMAGES, add_folder_config, folder_defaults
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Item, Splits
from mocoop.data.look import about_deep_images, common_range, look_at
from mocoop.data.own_images import Row, label_order, read_class_folders, read_class_names, read_image_csv
from mocoop.data.rawsplit import split_off_val, split_stratified
from mocoop.data.split import read_split, write_split
from mocoop.errors import ConfigError, DataError
from mocoop.images import FULL, MINMAX, own_reading

log = logging.getLogger(__name__)


class OwnImages(BenchmarkDataset):
    """The images below the data root, set up by DATASET.FOLDER.* (mocoop/data/config.py).

    Where the images come without a split, one is drawn once and kept as `split_zhou_<Name>.json` in the root, <Name>
    being that of the dataset or of the csv.
    """

    settings = folder_defaults()

    def __init__(self, cfg):
        was_frozen = cfg.is_frozen()
        cfg.defrost()
        add_folder_config(cfg)
        self.settings, self.notes = cfg.DATASET.FOLDER, []
        try:
            super().__init__(cfg)
        finally:
            for note in self.notes:
                log.warning("%s", note)
            if was_frozen:
                cfg.freeze()

    @classmethod
    def survey(cls, root: str, settings: dict[str, str]) -> dict[str, int]:
        """Number of readable images of each class, in label order; `settings` are keys of DATASET.FOLDER."""
        dataset = cls.open(root)
        dataset.settings, dataset.notes = folder_defaults(), []
        dataset.settings.update(settings)
        items = dataset._items(dataset._readable(dataset._rows()))
        return dict(Counter(item.classname for item in sorted(items, key=lambda item: item.label)))

    @classmethod
    def expected(cls) -> str:
        return "one folder of images for each class, or a csv named by DATASET.FOLDER.CSV"

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

    def _missing(self, path: str, expected: str) -> DataError:
        return DataError(f"{self.name}: {path} does not exist, expected {self.expected()}; pass it as --root")

    def _rows(self) -> list[Row]:
        if self.settings.CSV:
            return read_image_csv(os.path.join(self.dataset_dir, self.settings.CSV), self.dataset_dir)
        return read_class_folders(self.dataset_dir)

    def _readable(self, rows: list[Row]) -> list[Row]:
        if self.settings.BAD_IMAGES not in BAD_IMAGES:
            raise ConfigError(
                f"DATASET.FOLDER.BAD_IMAGES is {self.settings.BAD_IMAGES!r}, expected one of {BAD_IMAGES}"
            )
        self._looks = look_at(self.dataset_dir, [row.path for row in rows])
        bad = {path: look.problem for path, look in self._looks.items() if look.problem}
        if bad and self.settings.BAD_IMAGES == "error":
            path, problem = next(iter(bad.items()))
            raise DataError(
                f"{self.dataset_dir}/{path} cannot be read ({problem}), and {len(bad) - 1} more; fix "
                "or remove them, or set DATASET.FOLDER.BAD_IMAGES skip"
            )
        for path, problem in bad.items():
            self.notes.append(f"left out, cannot be read: {self.dataset_dir}/{path} ({problem})")
        return [row for row in rows if row.path not in bad]

    def _find_range(self, splits: Splits) -> None:
        """Set DATASET.FOLDER.READ: the range of deep images, one for all that are in the splits."""
        start, node = len(self.image_dir) + 1, self.settings
        items = chain(splits.train, splits.val or (), splits.test)
        looks = [self._looks[item.impath[start:]] for item in items]
        node.READ = node.RANGE
        if node.RANGE == MINMAX:
            found = common_range(looks)
            node.READ = f"{found[0]:.10g},{found[1]:.10g}" if found else FULL
        self.notes += about_deep_images(looks, own_reading(node.READ, node.BACKGROUND))

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
        for part in ("train", "test"):
            if not parts[part]:
                raise DataError(f"{self.dataset_dir}: got no image to {part} on, expected train, test, optionally val")
        if not parts["val"]:
            parts["train"], parts["val"] = split_off_val(parts["train"], make_rng(self.settings.SPLIT_SEED))
        return Splits(**parts)

    def _kept_split(self, items: list[Item], store: bool) -> Splits:
        stem = Path(self.settings.CSV).stem if self.settings.CSV else self.name
        path = Path(self.dataset_dir, f"split_zhou_{stem}.json")
        if not path.exists():
            splits = split_stratified(items, make_rng(self.settings.SPLIT_SEED))
            if not store:
                return splits
            write_split(path, splits, self.image_dir)
        print(f"Reading split from {path}")
        current = {item.impath: item for item in items}
        kept = read_split(path, self.image_dir)
        splits = Splits(*([current[item.impath] for item in part if item.impath in current] for part in kept))
        extra = len(current.keys() - {item.impath for part in kept for item in part})
        if extra:
            log.warning("%d images are not used, since they are not in %s; delete it to split anew", extra, path)
        return splits

    def _check_classes(self, splits: Splits, items: list[Item]) -> None:
        for part, images in (("train", splits.train), ("test", splits.test)):
            present = {item.label for item in images}
            for name in dict.fromkeys(item.classname for item in items if item.label not in present):
                if part == "train":
                    raise DataError(
                        f"{self.dataset_dir}: class {name!r} has no readable image to train on; add some or "
                        "remove the class"
                    )
                log.warning("class %r has no image to test on", name)
