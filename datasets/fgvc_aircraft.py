"""FGVC-Aircraft (Maji et al., arXiv 1306.5151): 100 aircraft variants, with the authors' own split."""

from mocoop.data.base import BenchmarkDataset
from mocoop.data.item import Item, Splits
from mocoop.data.lists import parse_lines
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class FGVCAircraft(BenchmarkDataset):
    """Labels follow variants.txt. The split is fixed by text files, so there is no split file."""

    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    raw_files = ("variants.txt", "images_variant_train.txt", "images_variant_val.txt", "images_variant_test.txt")

    def read_raw(self) -> Splits:
        variants, *lists = (f"{self.dataset_dir}/{name}" for name in self.raw_files)
        label_of = {name: label for label, name in enumerate(parse_lines(variants, str, "a variant"))}

        def item(line: str) -> Item:
            image, variant = line.split(" ", 1)
            return Item(f"{self.image_dir}/{image}.jpg", label_of[variant], variant)

        return Splits(*(parse_lines(path, item, "an image number and a variant of variants.txt") for path in lists))
