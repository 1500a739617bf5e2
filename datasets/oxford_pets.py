"""Oxford-IIIT Pets (Parkhi et al., CVPR 2012): 37 breeds of cats and dogs."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.draws import make_rng, split_trainval
from mocoop.data.item import Item, Splits
from mocoop.data.lists import parse_lines
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class OxfordPets(BenchmarkDataset):
    """The class name is the image's name without its number, in lower case: Great_Pyrenees_12 is a great_pyrenees."""

    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_file = "split_zhou_OxfordPets.json"
    raw_files = ("annotations/trainval.txt", "annotations/test.txt")

    def read_raw(self) -> Splits:
        trainval, test = (self._read(name) for name in self.raw_files)
        return Splits(*split_trainval(trainval, make_rng(self.seed)), test)

    def _read(self, name: str) -> list[Item]:
        def item(line: str) -> Item:
            image, label, _species, _breed = line.split(" ")
            breed, _number = image.rsplit("_", 1)
            return Item(f"{self.image_dir}/{image}.jpg", int(label) - 1, breed.lower())

        return parse_lines(f"{self.dataset_dir}/{name}", item, "image name, label, species and breed number")
