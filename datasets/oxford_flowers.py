"""Oxford Flowers 102 (Nilsback and Zisserman, ICVGIP 2008)."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.draws import make_rng, split_classes
from mocoop.data.item import Item, Splits
from mocoop.data.lists import read_mat_row
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError
from mocoop.files import read_json


@DATASET_REGISTRY.register()
class OxfordFlowers(BenchmarkDataset):
    """imagelabels.mat holds the label of image_00001.jpg and so on; cat_to_name.json the name of each label."""

    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    raw_files = ("imagelabels.mat", "cat_to_name.json")

    def read_raw(self) -> Splits:
        labels_file, names_file = (f"{self.dataset_dir}/{name}" for name in self.raw_files)
        names = read_json(names_file, advice="get it again")
        classes = {}
        for number, label in enumerate(map(int, read_mat_row(labels_file, "labels")), start=1):
            if str(label) not in names:
                raise DataError(f"{names_file}: no name for label {label}, which {labels_file} gives image {number}")
            item = Item(f"{self.image_dir}/image_{number:05d}.jpg", label - 1, names[str(label)])
            classes.setdefault(label, []).append(item)
        return split_classes(list(classes.values()), make_rng(self.seed))
