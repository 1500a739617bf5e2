"""Describable Textures (Cimpoi et al., CVPR 2014): 47 textures."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Splits
from mocoop.data.rawsplit import split_class_folders
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class DescribableTextures(BenchmarkDataset):
    """The ten splits that come with the data, in labels/, are not used: CoOp draws its own from the class folders."""

    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"

    def read_raw(self) -> Splits:
        return split_class_folders(self.image_dir, make_rng(self.seed))
