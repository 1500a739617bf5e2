"""EuroSAT (Helber et al., arXiv 1709.00029), the RGB images: 10 kinds of land use seen by satellite."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Splits
from mocoop.data.rawsplit import split_class_folders
from mocoop.engine import DATASET_REGISTRY

CLASS_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


@DATASET_REGISTRY.register()
class EuroSAT(BenchmarkDataset):
    """Class names are CoOp's longer ones, not the folders'."""

    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"

    def read_raw(self) -> Splits:
        return split_class_folders(self.image_dir, make_rng(self.seed), renamed=CLASS_NAMES)
