"""SUN397 (Xiao et al., CVPR 2010): 397 scenes, with the first of the authors' partitions."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.draws import make_rng, split_trainval
from mocoop.data.item import Item, Splits
from mocoop.data.lists import parse_lines
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class SUN397(BenchmarkDataset):
    """/a/apartment_building/outdoor/ holds images of an "outdoor apartment_building"; labels follow ClassName.txt."""

    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_file = "split_zhou_SUN397.json"
    raw_files = ("ClassName.txt", "Training_01.txt", "Testing_01.txt")

    def read_raw(self) -> Splits:
        classes, *lists = (f"{self.dataset_dir}/{name}" for name in self.raw_files)
        label_of = {folder: label for label, folder in enumerate(parse_lines(classes, str, "the folder of a class"))}

        def item(line: str) -> Item:
            folder, _image = line.rsplit("/", 1)
            _empty, _letter, *words = folder.split("/")
            return Item(self.image_dir + line, label_of[folder], " ".join(reversed(words)))

        trainval, test = (
            parse_lines(path, item, "the path of an image in a folder of ClassName.txt") for path in lists
        )
        return Splits(*split_trainval(trainval, make_rng(self.seed)), test)
