"""What the datasets share: finding the files, the split, the few-shot subset, the classes.

A dataset names its folders and reads its raw annotations; everything else is here. Registered subclasses are in
`datasets/`.
"""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yacs.config import CfgNode

from mocoop.data.config import dataset_defaults
from mocoop.data.draws import check_count, make_rng, split_classes
from mocoop.data.item import Item, Splits, check_labels, class_names, same_texts, subsample_classes
from mocoop.data.lists import encode_manifest, read_split, text_sha256, write_split
from mocoop.data.paths import doubled_folder, linked_out, list_folders, list_images
from mocoop.data.subset import FOLDER as SUBSETS
from mocoop.data.subset import few_shot_subset, subset_made_elsewhere
from mocoop.engine import DatasetBase, Datum
from mocoop.errors import DataError
from mocoop.images import AS_COOP

log = logging.getLogger(__name__)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector, which would look through a growing million of objects again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class BenchmarkDataset(DatasetBase):
    """A dataset in CoOp's folder layout.

    A subclass sets the attributes below and overrides `read_raw`. After construction `dataset_dir` and `image_dir` are
    absolute, `train_x`, `val`, `test` and `classnames` are as in Dassl, and there are also:

    - `all_classnames`: class names in label order before classes were subsampled,
    - `manifest_sha256`: hash of the manifest (mocoop/data/lists.py) of what is trained and validated on, before
      classes were subsampled,
    - `domains`: names of the domains that `Datum.domain` counts; empty if there is only one.

    Raises DataError, in one line that says what to do next, when files are missing or damaged.
    """

    dataset_dir = ""  # the dataset's folder under DATASET.ROOT
    image_dir = ""  # folder of images in it; paths in split files are relative to this one
    split_file = ""  # CoOp's split file in it, or "" where the raw annotations fix the split
    raw_files: tuple[str, ...] = ()  # files that read_raw needs, relative to the dataset's folder
    not_distributed = ""  # where its images come from, if there is nothing to download
    test_only = False  # the test images stand in as training images, for their class names; no subset is drawn

    @paused_collector()
    def __init__(self, cfg: CfgNode):
        self._configure(cfg.DATASET)
        self._open(cfg.DATASET.ROOT, cfg.SEED)
        splits = self.load_splits()
        self.all_classnames = class_names(splits.train, self.name)
        for note in self.name_notes(self.all_classnames):
            log.warning("%s: %s", self.name, note)
        check_labels(splits, self.all_classnames, self.name)
        shots, classes = cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES
        if shots >= 1 and not self.test_only:
            print(f"Creating a {shots}-shot dataset")
            elsewhere, place = cfg.DATASET.get("SPLITS", ""), (self.subset_folder, self.image_dir)
            if elsewhere:
                splits = subset_made_elsewhere(splits, shots, self.seed, elsewhere, *place)
            else:
                splits = few_shot_subset(splits, shots, self.seed, *place)
        self.manifest_sha256 = text_sha256(encode_manifest(splits.train, splits.val, self.image_dir))
        print(f"Manifest of the training and validation images: sha256 {self.manifest_sha256}")
        self._of_all_classes = splits.train
        splits = subsample_classes(splits, classes)
        if classes != "all":
            print(f"SUBSAMPLE {classes.upper()} CLASSES!")
        test = self._data(splits.test)
        if self.test_only:
            return super().__init__(train_x=test, test=test)
        val = test if splits.val is None else self._data(splits.val)
        super().__init__(train_x=self._data(splits.train), val=val, test=test)

    @classmethod
    def open(cls, root: str, seed: int = 1, node: CfgNode | None = None) -> "BenchmarkDataset":
        """The dataset with its folders found and nothing read yet, for tools: `load_splits` reads.

        `node` is the config's DATASET; without it the defaults count.
        """
        dataset = cls.__new__(cls)
        dataset._configure(node if node is not None else dataset_defaults())
        dataset._open(root, seed)
        return dataset

    def unlabelled(self) -> list[Datum]:
        """The training images of all classes, base and new, with the label -1 and no class name."""
        return self._data([item._replace(label=-1, classname="") for item in self._of_all_classes])

    @property
    def subset_folder(self) -> Path:
        """Where the few-shot subsets are kept."""
        return Path(self.dataset_dir, SUBSETS)

    def name_notes(self, names: list[str]) -> list[str]:
        """Lines for the user about class names that CLIP may misunderstand."""
        return same_texts(names)

    def read_raw(self) -> Splits:
        """The three lists of items, from the annotations the dataset is distributed with.

        Override. Items are `Item` or `Datum`, with absolute paths under `self.image_dir`; what is left to chance is
        drawn from `make_rng(self.seed)`. `val` None means that the test images also validate.
        """
        raise NotImplementedError(f"{self.name}: no reader of raw annotations")

    def read_domains(self) -> dict[str, str]:
        """Name of the domain of each image, by path relative to `self.image_dir`; override where there are several."""
        return {}

    def load_splits(self, store: bool = True) -> Splits:
        """The whole dataset: from the split file, or from the raw annotations, which leave a split file if `store`."""
        path = Path(self.dataset_dir, self.split_file)
        if not self.split_file or not (store or path.exists()):
            splits = self._load_raw()
        else:
            if not path.exists():
                write_split(path, self._load_raw(), self.image_dir)
            print(f"Reading split from {path}")
            splits = read_split(path, self.image_dir)
        splits = self._with_domains(splits)
        return Splits(splits.test, None, splits.test) if self.test_only else splits

    @classmethod
    def expected(cls) -> str:
        """What belongs in the dataset's folder, in words."""
        images = [f"{cls.image_dir}/"] if cls.image_dir else []
        return ", ".join([*images, *([cls.split_file] if cls.split_file else cls.raw_files)])

    def _configure(self, node: CfgNode) -> None:
        """Take what the config's DATASET says; what is found of the images is noted in the other attributes.

        `reading` is how their pixels are read, `notes` are lines for the user about what was decided and left out, and
        `unreadable` says, by path, why an image was left out of the splits.
        """
        self.follow_links = node.get("FOLLOW_LINKS", False)
        self.reading = AS_COOP
        self.notes: list[str] = []
        self.unreadable: dict[str, str] = {}

    def _open(self, root: str, seed: int) -> None:
        self.name, self.seed = type(self).__name__, seed
        if not root:
            raise DataError(f"{self.name}: no data root; pass --root DATA, which has {self.dataset_dir or 'images'}/")
        self.root = root = os.path.abspath(os.path.expanduser(root))
        self.dataset_dir = os.path.join(root, self.dataset_dir).rstrip("/")
        self.image_dir = os.path.join(self.dataset_dir, self.image_dir).rstrip("/")
        for folder in (root, self.dataset_dir, self.image_dir):
            if not os.path.isdir(folder):
                raise self._missing(folder, f"{self.dataset_dir}/ to hold {self.expected()}")

    def _missing(self, path: str, expected: str) -> DataError:
        return DataError(
            f"{self.name}: {path} does not exist, expected {expected}; get it with "
            f"`mocoop datasets prepare {self.name} --root {self.root}` or see DATASETS.md"
        )

    def _load_raw(self) -> Splits:
        for name in self.raw_files:
            path = os.path.join(self.dataset_dir, name)
            if not os.path.exists(path):
                raise self._missing(path, f"it or {self.split_file}" if self.split_file else "it")
        return Splits(*self.read_raw()).mapped(_as_items)

    def _with_domains(self, splits: Splits) -> Splits:
        domain_of = self.read_domains()
        if not domain_of:
            return splits
        self.domains = list(type(self).domains) or sorted(set(domain_of.values()))
        index = {f"{self.image_dir}/{path}": self.domains.index(name) for path, name in domain_of.items()}
        return splits.mapped(lambda items: [i._replace(domain=index.get(i.impath, 0)) for i in items])

    def _check_links(self, items: list[Item]) -> None:
        """The folders of the layout may be links; what lies in them may lead out of them with FOLLOW_LINKS only."""
        layout = [self.dataset_dir, *(f"{self.dataset_dir}/{name}" for name in self.raw_files)]
        inside = [self.root, self.image_dir, *filter(os.path.isdir, layout)]
        if not self.follow_links and (out := linked_out((item.impath for item in items), *inside)):
            raise DataError(
                f"{self.name}: {min(out)} is, or lies behind, a link out of the data root; copy what it leads to into "
                "it, make a data root of a folder that holds both, or set DATASET.FOLLOW_LINKS True"
            )

    def _data(self, items: list[Item]) -> list[Datum]:
        self._check_links(items)
        try:
            return [Datum(impath=i.impath, label=i.label, domain=i.domain, classname=i.classname) for i in items]
        except (DataError, AssertionError) as error:  # Dassl asserts that there is a file
            missing = next((item.impath for item in items if not os.path.isfile(item.impath)), "")
            if not (deeper := doubled_folder(missing)):
                raise
            raise DataError(
                f"{self.name}: no image {missing}, but one in {deeper}, an archive's folder in a folder of its "
                "name; move what is in it one folder up"
            ) from error


def _as_items(items: list) -> list[Item]:
    return items if isinstance(items[0], Item) else [Item.of(item) for item in items]


class ClassFolders(BenchmarkDataset):
    """A dataset of one folder for each class, labelled in sorted order, split by `split_classes`."""

    ignored: tuple[str, ...] = ()  # sub-folders that are no classes
    renamed: dict[str, str] = {}  # class names of sub-folders that are not called like their class

    def read_raw(self) -> Splits:
        classes = []
        for label, name in enumerate(name for name in list_folders(self.image_dir) if name not in self.ignored):
            folder = f"{self.image_dir}/{name}"
            images = list_images(folder)
            check_count(len(images), folder, len(images))
            classes.append([Item(f"{folder}/{image}", label, self.renamed.get(name, name)) for image in images])
        if not classes:
            raise DataError(f"{self.image_dir}: got no class folder, expected one for each class")
        return split_classes(classes, make_rng(self.seed))
