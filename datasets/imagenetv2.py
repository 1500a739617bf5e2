"""ImageNetV2, matched frequency (Recht et al., arXiv 1902.10811): ImageNet's test set made anew, for testing only."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.imagenet import read_classnames
from mocoop.data.item import Item, Splits
from mocoop.data.paths import list_images
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError


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
