"""Times ImageNet's start: the first one, which lists every folder, and later ones, which read the index.

python -m benchmarks.imagenet_index --folder big                      1,000 classes of 1,281 + 50 empty files
python -m benchmarks.imagenet_index --folder big --per-class 100      a smaller tree
"""

import argparse
import os
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from yacs.config import CfgNode

from mocoop.checkout import import_datasets


def make_tree(folder: Path, classes: int, per_class: int, val_per_class: int = 50) -> None:
    """An ImageNet of empty files; what is there stays."""
    names = [f"n{number:08d}" for number in range(classes)]
    for part, count in (("train", per_class), ("val", val_per_class)):
        for name in names:
            place = folder / "images" / part / name
            if not place.exists():
                place.mkdir(parents=True)
                for number in range(count):
                    os.mknod(place / f"{name}_{number}.JPEG")
    (folder / "classnames.txt").write_text("".join(f"{name} class {name}\n" for name in names))


def time_start(root: Path, shots: int) -> tuple[float, int]:
    """(seconds, training images) of building the dataset."""
    cfg = CfgNode({"SEED": 1, "DATASET": {"ROOT": str(root), "NUM_SHOTS": shots, "SUBSAMPLE_CLASSES": "all"}})
    dataset_class = import_datasets().get("ImageNet")
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        dataset = dataset_class(cfg)
    return time.perf_counter() - start, len(dataset.train_x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the tree is made, and left")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=1281)
    args = parser.parse_args()
    make_tree(args.folder / "imagenet", args.classes, args.per_class)
    (args.folder / "imagenet/image_index.json").unlink(missing_ok=True)
    for name, shots in (("first start, 16 shots", 16), ("second start, 16 shots", 16), ("third start, all images", -1)):
        seconds, images = time_start(args.folder, shots)
        print(f"{name:<26} {seconds:6.1f} s  {images:>9,} training images")


if __name__ == "__main__":
    main()
