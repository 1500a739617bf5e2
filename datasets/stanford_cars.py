"""Stanford Cars (Krause et al., 2013): 196 makes, models and years."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.draws import make_rng, split_trainval
from mocoop.data.item import Item, Splits
from mocoop.data.lists import read_mat_row
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError


@DATASET_REGISTRY.register()
class StanfordCars(BenchmarkDataset):
    """Paths in the split file start at the dataset's folder. "Acura TL Sedan 2012" is the "2012 Acura TL Sedan"."""

    dataset_dir = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"
    raw_files = ("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")

    @classmethod
    def expected(cls) -> str:
        return f"cars_train/, cars_test/, {cls.split_file}"

    def read_raw(self) -> Splits:
        meta, trainval, test = (f"{self.dataset_dir}/{name}" for name in self.raw_files)
        names = [_year_first(str(name[0])) for name in read_mat_row(meta, "class_names")]
        rng = make_rng(self.seed)
        return Splits(
            *split_trainval(self._read("cars_train", trainval, names), rng), self._read("cars_test", test, names)
        )

    def _read(self, folder: str, path: str, names: list[str]) -> list[Item]:
        items = []
        for entry in read_mat_row(path, "annotations"):
            label = int(entry["class"][0, 0]) - 1
            if not 0 <= label < len(names):
                raise DataError(
                    f"{path}: got the class {label + 1}, expected 1 to {len(names)} as in {self.raw_files[0]}"
                )
            items.append(Item(f"{self.image_dir}/{folder}/{entry['fname'][0]}", label, names[label]))
        return items


def _year_first(name: str) -> str:
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"
