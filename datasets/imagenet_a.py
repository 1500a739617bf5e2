"""ImageNet-A (Hendrycks et al., arXiv 1907.07174): photographs that classifiers get wrong, for testing only."""

from mocoop.data.imagenet import SynsetTestSet
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class ImageNetA(SynsetTestSet):
    """200 of ImageNet's classes, labelled 0 to 199 in the order of their folders' names."""

    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"
