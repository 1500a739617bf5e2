"""Food-101 (Bossard et al., ECCV 2014)."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Splits
from mocoop.data.rawsplit import split_class_folders
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class Food101(BenchmarkDataset):
    """The split that comes with the data, in meta/, is not used: CoOp draws its own from the class folders."""

    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"

    def read_raw(self) -> Splits:
        return split_class_folders(self.image_dir, make_rng(self.seed))
