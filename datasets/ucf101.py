"""UCF101 (Soomro et al., arXiv 1212.0402): 101 human actions, the middle frame of each video."""

import re

from mocoop.data.base import BenchmarkDataset
from mocoop.data.draws import make_rng, split_trainval
from mocoop.data.item import Item, Splits
from mocoop.data.lists import parse_lines
from mocoop.engine import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class UCF101(BenchmarkDataset):
    """The action "ApplyEyeMakeup" of the lists is the folder and class "Apply_Eye_Makeup"."""

    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    raw_files = tuple(f"ucfTrainTestlist/{name}.txt" for name in ("classInd", "trainlist01", "testlist01"))

    def read_raw(self) -> Splits:
        classes, *lists = (f"{self.dataset_dir}/{name}" for name in self.raw_files)
        label_of = dict(parse_lines(classes, _action_and_label, "a number and an action"))

        def item(line: str) -> Item:
            action, video = line.split(" ")[0].split("/")
            classname = "_".join(re.findall("[A-Z][^A-Z]*", action))
            frame = video.replace(".avi", ".jpg")
            return Item(f"{self.image_dir}/{classname}/{frame}", label_of[action], classname)

        trainval, test = (parse_lines(path, item, "an action of classInd.txt and a video") for path in lists)
        return Splits(*split_trainval(trainval, make_rng(self.seed)), test)


def _action_and_label(line: str) -> tuple[str, int]:
    number, action = line.split(" ")
    return action, int(number) - 1
