"""Describable Textures (Cimpoi et al., CVPR 2014): 47 textures."""

from mocoop.data.base import ClassFolders
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class DescribableTextures(ClassFolders):
    """The ten splits that come with the data, in labels/, are not used: CoOp draws its own from the class folders."""

    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"
