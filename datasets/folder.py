"""Your own images: class folders or a csv under --root, without a line of Python. DATASETS.md tells the layouts."""

from mocoop.data.own_images import OwnImages
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class Folder(OwnImages):
    """The images below the data root; configs/datasets/<yours>.yaml is made by `mocoop datasets new`."""

    not_distributed = "the images are your own, and `mocoop datasets new` writes their config"
