"""Food-101 (Bossard et al., ECCV 2014)."""

from mocoop.data.base import ClassFolders
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class Food101(ClassFolders):
    """The split that comes with the data, in meta/, is not used: CoOp draws its own from the class folders."""

    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
