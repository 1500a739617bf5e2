"""ImageNet-1k (Russakovsky et al., arXiv 1409.0575), whose validation images are the test set, as is standard.

And its variants, for testing only: ImageNet-A (Hendrycks et al., arXiv 1907.07174), photographs that classifiers get
wrong; ImageNet-R (Hendrycks et al., arXiv 2006.16241), art, cartoons, toys and other renditions; ImageNet-Sketch
(Wang et al., arXiv 1905.13549); ImageNetV2, matched frequency (Recht et al., arXiv 1902.10811), its test set made anew.
"""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.imagenet import SynsetTestSet, list_class_folders, read_classnames, synset_items
from mocoop.data.item import Item, Splits
from mocoop.data.paths import list_images
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError


@DATASET_REGISTRY.register()
class ImageNet(BenchmarkDataset):
    """1,000 classes, labelled in the order of their folders' names (WordNet ids)."""

    dataset_dir = "imagenet"
    image_dir = "images"
    raw_files = ("classnames.txt", "images/train", "images/val")
    index_file = "image_index.json"

    def read_raw(self) -> Splits:
        listing = list_class_folders(self.image_dir, ("train", "val"), f"{self.dataset_dir}/{self.index_file}")
        odd = sorted(listing["train"].keys() ^ listing["val"].keys())
        if odd:
            counts = f"{len(listing['train'])} class folders in train and {len(listing['val'])} in val"
            raise DataError(
                f"{self.image_dir}: got {counts}, expected the same ones (in one only: {', '.join(odd[:3])}); "
                "extract the archives again (ImageNet in DATASETS.md)"
            )
        names_file = f"{self.dataset_dir}/classnames.txt"
        train, val = (synset_items(f"{self.image_dir}/{part}", listing[part], names_file) for part in ("train", "val"))
        return Splits(train, None, val)


@DATASET_REGISTRY.register()
class ImageNetA(SynsetTestSet):
    """200 of ImageNet's classes, labelled 0 to 199 in the order of their folders' names."""

    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"


@DATASET_REGISTRY.register()
class ImageNetR(SynsetTestSet):
    """200 of ImageNet's classes, labelled 0 to 199 in the order of their folders' names."""

    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"


@DATASET_REGISTRY.register()
class ImageNetSketch(SynsetTestSet):
    """1,000 classes in ImageNet's label order."""

    dataset_dir = "imagenet-sketch"
    image_dir = "images"


@DATASET_REGISTRY.register()
class ImageNetV2(BenchmarkDataset):
    """1,000 classes; a class's folder is called by its label, that is its line in classnames.txt from 0."""

    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    raw_files = ("classnames.txt",)
    test_only = True

    def read_raw(self) -> Splits:
        items = []
        for label, classname in enumerate(read_classnames(f"{self.dataset_dir}/classnames.txt").values()):
            folder = f"{self.image_dir}/{label}"
            try:
                items.extend(Item(f"{folder}/{name}", label, classname) for name in list_images(folder))
            except FileNotFoundError:
                raise DataError(
                    f"{folder} does not exist, expected the images of {classname!r}: one folder for each line "
                    "of classnames.txt; extract the archive again"
                ) from None
        return Splits([], None, items)
