"""Images per second that a loader gives, by number of workers, beside what a training step takes.

python -m benchmarks.data_loading [--images 256] [--workers 0 1 2] [--size 500 375]
"""

import contextlib
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import common
from mocoop.engine import Datum, build_transform, get_cfg_default
from mocoop.engine.lite.data_loader import build_data_loader
from mocoop.training.batches import reproducible


def photographs(folder: Path, count: int, size: tuple[int, int]) -> list[Datum]:
    """JPEG files as large as photographs of their size are: smooth, with some noise."""
    width, height = size
    generator = np.random.default_rng(0)
    items = []
    for i in range(count):
        coarse = generator.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        picture = np.clip(picture + generator.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        path = folder / f"{i}.jpg"
        Image.fromarray(picture).save(path, quality=90)
        items.append(Datum(str(path), label=i % 10, classname=str(i % 10)))
    return items


def images_per_second(cfg, items: list[Datum], workers: int, training: bool) -> float:
    """The rate of a whole pass, the loader's workers already there."""
    cfg.DATALOADER.NUM_WORKERS = workers
    with contextlib.redirect_stdout(None):  # the transform's description
        transform = build_transform(cfg, is_train=training)
    loader = build_data_loader(cfg, "SequentialSampler", items, 32, tfm=transform, is_train=training)
    if training:
        loader = reproducible(loader, stream=1)
    batches = iter(loader)
    next(batches)
    started = common.now()
    seen = sum(len(batch["label"]) for batch in batches)
    return seen / (common.now() - started)


def main(args) -> None:
    random.seed(0)
    cfg = get_cfg_default()
    cfg.VERBOSE, cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = False, (224, 224), "bicubic"
    cfg.INPUT.TRANSFORMS = ["random_resized_crop", "random_flip", "normalize"]
    with tempfile.TemporaryDirectory() as folder:
        items = photographs(Path(folder), args.images, tuple(args.size))
        kilobytes = sum(Path(item.impath).stat().st_size for item in items) / len(items) / 1024
        rows = [
            {
                "workers": workers,
                "training images/s": images_per_second(cfg, items, workers, training=True),
                "test images/s": images_per_second(cfg, items, workers, training=False),
            }
            for workers in args.workers
        ]
    print(f"{args.images} JPEG files of {args.size[0]} x {args.size[1]} pixels, {kilobytes:.0f} KB each")
    common.report(rows, args)


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("--images", type=int, default=256)
    cli.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    cli.add_argument("--size", type=int, nargs=2, default=[500, 375], help="pixels, about ImageNet's mean")
    main(cli.parse_args())
