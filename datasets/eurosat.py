"""EuroSAT (Helber et al., arXiv 1709.00029), the RGB images: 10 kinds of land use seen by satellite."""

from mocoop.data.base import ClassFolders
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
class EuroSAT(ClassFolders):
    """Class names are CoOp's longer ones, not the folders'."""

    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"
    renamed = CLASS_NAMES
