"""Caltech-101 (Fei-Fei et al., 2004), without the background and without the second folder of faces: 100 classes."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.fewshot import make_rng
from mocoop.data.item import Splits
from mocoop.data.rawsplit import split_class_folders
from mocoop.engine import DATASET_REGISTRY

IGNORED = ("BACKGROUND_Google", "Faces_easy")
RENAMED = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}


@DATASET_REGISTRY.register()
class Caltech101(BenchmarkDataset):
    """Labels follow the folders' names, capitals before small letters; four class names differ from their folder's."""

    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"

    def read_raw(self) -> Splits:
        return split_class_folders(self.image_dir, make_rng(self.seed), ignored=IGNORED, renamed=RENAMED)
