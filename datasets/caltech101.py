"""Caltech-101 (Fei-Fei et al., 2004), without the background and without the second folder of faces: 100 classes."""

from mocoop.data.base import ClassFolders
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class Caltech101(ClassFolders):
    """Labels follow the folders' names, capitals before small letters; four class names differ from their folder's."""

    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    ignored = ("BACKGROUND_Google", "Faces_easy")
    renamed = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
