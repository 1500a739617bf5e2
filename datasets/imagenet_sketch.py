"""ImageNet-Sketch (Wang et al., arXiv 1905.13549): sketches of ImageNet's classes, for testing only."""

from mocoop.data.imagenet import SynsetTestSet
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class ImageNetSketch(SynsetTestSet):
    """1,000 classes in ImageNet's label order."""

    dataset_dir = "imagenet-sketch"
    image_dir = "images"
