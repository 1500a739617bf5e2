"""A small real data set of PNG files, and a trainer on it, for whichever engine is given."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from mocoop.training.optim import build_lr_scheduler, build_optimizer

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
SPLITS = {"train": 7, "val": 2, "test": 5}  # images per class


def write_images(folder: Path, per_class: int) -> list[tuple[str, int, int, str]]:
    """PNG files of noisy colours, of differing sizes: (path, label, domain, class name) of each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, (name, colour) in enumerate(COLOURS.items()):
        for i in range(per_class):
            height, width = rng.integers(24, 48, size=2)
            pixels = np.clip(np.array(colour) + rng.normal(0, 40, (height, width, 3)), 0, 255).astype(np.uint8)
            path = folder / f"{name}_{i}.png"
            Image.fromarray(pixels).save(path)
            rows.append((str(path), label, i % 2, name))
    return rows


def make_dataset_class(engine):
    """A dataset class on the files under DATASET.ROOT, for `engine` (a namespace with Datum and DatasetBase)."""

    def init(self, cfg):
        root = Path(cfg.DATASET.ROOT)
        splits = {split: [engine.Datum(*row) for row in read_rows(root / f"{split}.txt")] for split in SPLITS}
        engine.DatasetBase.__init__(self, train_x=splits["train"], val=splits["val"], test=splits["test"])

    return type("Colours", (engine.DatasetBase,), {"__init__": init, "domains": ["even", "odd"]})


def write_dataset(root: Path):
    for split, per_class in SPLITS.items():
        rows = write_images(root / split, per_class)
        lines = ["\t".join(map(str, row)) for row in rows]
        (root / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")


def read_rows(path: Path):
    for line in path.read_text(encoding="utf-8").splitlines():
        image, label, domain, name = line.split("\t")
        yield image, int(label), int(domain), name


def toy_cfg(cfg, root: Path, output: Path):
    """Settings for a short run: 3 epochs of 4 batches on 16 x 16 pixels."""
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.OUTPUT_DIR = "Colours", str(root), str(output)
    cfg.TRAINER.NAME = "ToyTrainer"
    cfg.INPUT.SIZE = (16, 16)
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 5
    cfg.DATALOADER.TEST.BATCH_SIZE = 4
    cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH = "sgd", 0.05, 3
    cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE = "cosine", 1, "constant"
    cfg.TRAIN.PRINT_FREQ = 2
    cfg.USE_CUDA = False
    return cfg


def make_trainer_class(trainer_x):
    """A trainer of a linear classifier with dropout, on `trainer_x`; it keeps its losses, rates and batches."""

    class ToyTrainer(trainer_x):
        def build_model(self):
            self.model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(3 * 16 * 16, self.num_classes))
            self.optim = build_optimizer(self.model.parameters(), self.cfg.OPTIM)
            self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
            self.register_model("toy", self.model, self.optim, self.sched)
            self.losses, self.paths, self.rates = [], [], []

        def forward_backward(self, batch):
            image, label, _ = self.parse_batch_train(batch)
            loss = nn.functional.cross_entropy(self.model(image), label)
            self.model_backward_and_update(loss)
            self.losses.append(loss.item())
            self.paths.append(list(batch["impath"]))
            self.rates.append(self.get_current_lr())
            if self.batch_idx + 1 == self.num_batches:
                self.update_lr()
            return {"loss": loss.item(), "acc": 50.0}

    return ToyTrainer
