"""What a training epoch waits for its loader, with images decoded once and with images decoded in every epoch.

python -m benchmarks.decoding [--classes 20] [--workers 0] [--epochs 5]

Sixteen JPEG files of 500 x 375 pixels a class, CoOp's augmentation. Both loaders run in turn in one process; the first
epoch, which decodes in either, is not counted. Without workers it is the processor's time, with them the clock's.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.rehearsal_data import photograph
from mocoop.data.config import add_data_config
from mocoop.engine import Datum, get_cfg_default
from mocoop.engine.lite.data import build_data_loader, build_transform
from mocoop.training.batches import reproducible

SHOTS = 16
NAMES = {"once": 1024, "every epoch": 0}  # DATALOADER.DECODED_MB


def write_images(folder: Path, count: int) -> list[Datum]:
    """JPEG files like photographs, each of its own."""
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(photograph(number))
    return [Datum(str(path), label=number // SHOTS) for number, path in enumerate(paths)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("classes", 20), ("workers", 0), ("epochs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.perf_counter if args.workers else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder), args.classes * SHOTS)
        cfg = get_cfg_default()
        add_data_config(cfg)
        cfg.DATASET.NUM_SHOTS, cfg.DATALOADER.NUM_WORKERS = SHOTS, args.workers
        cfg.INPUT.INTERPOLATION, cfg.INPUT.TRANSFORMS = "bicubic", ("random_resized_crop", "random_flip", "normalize")
        transform, loaders = build_transform(cfg), {}
        for name, cfg.DATALOADER.DECODED_MB in NAMES.items():
            loader = build_data_loader(cfg, "RandomSampler", images, 32, transform, is_train=True)
            loaders[name] = reproducible(loader, stream=1)
        seconds: dict[str, list[float]] = {name: [] for name in loaders}
        for epoch in range(args.epochs + 1):
            for name, loader in loaders.items():
                loader.batch_sampler.start_at(epoch)
                started = clock()
                for _ in loader:
                    pass
                seconds[name].append(clock() - started)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"decoded {name:12}{1000 * median / len(images):6.2f} ms an image")
    print(f"ratio {statistics.median(b / a for a, b in zip(*(times[1:] for times in seconds.values()))):.2f}")


if __name__ == "__main__":
    main()
