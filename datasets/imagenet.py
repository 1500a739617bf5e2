"""ImageNet-1k (Russakovsky et al., arXiv 1409.0575). Its validation images are the test set, as is standard."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.imagenet import list_class_folders, synset_items
from mocoop.data.item import Splits
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
