"""ImageNet-R (Hendrycks et al., arXiv 2006.16241): art, cartoons, toys and other renditions, for testing only."""

from mocoop.data.imagenet import SynsetTestSet
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class ImageNetR(SynsetTestSet):
    """200 of ImageNet's classes, labelled 0 to 199 in the order of their folders' names."""

    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"
