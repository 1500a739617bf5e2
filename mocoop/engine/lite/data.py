"""From image files to batches: the transforms of the INPUT node, the loaders, and the loaders of a whole run.

A batch is a dictionary with the keys img, label, domain, impath and index; img is float, (B, 3, H, W).
"""

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)
from yacs.config import CfgNode

from mocoop.engine.lite.decoded import DecodedImages
from mocoop.engine.lite.registry import DATASET_REGISTRY, Datum
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image, reading_of

log = logging.getLogger(__name__)

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}
MOST_WORKERS = 8  # that are chosen from the cores
MAX_MAGNITUDE = 30  # of torchvision's RandAugment, as of Dassl's
Step = tuple[str, Callable]  # a line of the log, and the transform


# What a training pipeline may hold, in the order in which it is applied: the part for PIL images, then for tensors.
ON_IMAGE: dict[str, Callable[[CfgNode], Step]] = {
    "random_crop": lambda node: (
        f"random crop (padding = {node.CROP_PADDING})",
        RandomCrop(node.SIZE, padding=node.CROP_PADDING),
    ),
    "random_resized_crop": lambda node: (
        f"random resized crop (size={node.SIZE}, scale={node.RRCROP_SCALE})",
        RandomResizedCrop(node.SIZE, scale=node.RRCROP_SCALE, interpolation=interpolation_mode(node)),
    ),
    "random_flip": lambda node: ("random flip", RandomHorizontalFlip()),
    "randaugment": lambda node: (
        f"randaugment (n={node.RANDAUGMENT_N}, m={node.RANDAUGMENT_M})",
        RandAugment(node.RANDAUGMENT_N, node.RANDAUGMENT_M),
    ),
}
ON_TENSOR: dict[str, Callable[[CfgNode], Step]] = {
    "normalize": lambda node: (
        f"normalization (mean={node.PIXEL_MEAN}, std={node.PIXEL_STD})",
        Normalize(mean=node.PIXEL_MEAN, std=node.PIXEL_STD),
    ),
}
CROPS = ("random_crop", "random_resized_crop")
ALWAYS_WHEN_TESTING = "center_crop"
SAMPLERS: dict[str, Callable[[Sequence[Datum]], Sampler[int]]] = {
    "RandomSampler": RandomSampler,
    "SequentialSampler": SequentialSampler,
}
Transform = Callable[[Image.Image], Tensor]
Batches = Iterator[dict[str, Any]]


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Compose:
    """The training or the test pipeline of `cfg.INPUT`.

    `choices` replaces INPUT.TRANSFORMS. Training: resize to SIZE unless a random crop does, then what was chosen.
    Testing: resize the smaller edge, centre crop, and of what was chosen only the normalisation. Raises ConfigError
    for unknown names and values.
    """
    node = cfg.INPUT
    choices = node.TRANSFORMS if choices is None else choices
    check_input(node, choices)
    print(f"Building transform_{'train' if is_train else 'test'}")
    steps = _training_steps(node, choices) if is_train else _test_steps(node, choices)
    for line, _ in steps:
        print(f"+ {line}")
    return Compose([transform for _, transform in steps])


def plain_transform(cfg: CfgNode) -> Compose:
    """Of a training image as it is, without augmentation: resized to SIZE, as Dassl's RETURN_IMG0, and normalised."""
    choices = [name for name in cfg.INPUT.TRANSFORMS if name in ON_TENSOR]
    return Compose([transform for _, transform in _training_steps(cfg.INPUT, choices)])


def interpolation_mode(node: CfgNode) -> InterpolationMode:
    """The mode that INPUT.INTERPOLATION names. Raises ConfigError for an unknown one."""
    if node.INTERPOLATION not in INTERPOLATION_MODES:
        expected = ", ".join(INTERPOLATION_MODES)
        raise ConfigError(f'INPUT.INTERPOLATION: got "{node.INTERPOLATION}", expected one of {expected}')
    return INTERPOLATION_MODES[node.INTERPOLATION]


def check_input(node: CfgNode, choices: Sequence[str]) -> None:
    """Raise ConfigError for a transform, size or strength in the INPUT node that there is not."""
    if node.NO_TRANSFORM:
        raise ConfigError("INPUT.NO_TRANSFORM: got True, expected False: images are resized and made tensors")
    known = [*ON_IMAGE, *ON_TENSOR, ALWAYS_WHEN_TESTING]
    unknown = [name for name in choices if name not in known]
    if unknown:
        raise ConfigError(f"INPUT.TRANSFORMS: got {unknown}, expected names among {', '.join(known)}")
    if len(node.SIZE) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in node.SIZE):
        raise ConfigError(f"INPUT.SIZE: got {node.SIZE}, expected (height, width) in pixels")
    if "randaugment" in choices and not 0 <= node.RANDAUGMENT_M <= MAX_MAGNITUDE:
        raise ConfigError(f"INPUT.RANDAUGMENT_M: got {node.RANDAUGMENT_M}, expected 0 to {MAX_MAGNITUDE}")
    interpolation_mode(node)


def _training_steps(node: CfgNode, choices: Sequence[str]) -> list[Step]:
    steps: list[Step] = []
    if not any(name in choices for name in CROPS):
        steps.append((f"resize to {_size(node)}", Resize(node.SIZE, interpolation=interpolation_mode(node))))
    steps += [make(node) for name, make in ON_IMAGE.items() if name in choices]
    steps.append(_to_tensor())
    steps += [make(node) for name, make in ON_TENSOR.items() if name in choices]
    return steps


def _test_steps(node: CfgNode, choices: Sequence[str]) -> list[Step]:
    edge = max(node.SIZE)
    steps: list[Step] = [
        (f"resize the smaller edge to {edge}", Resize(edge, interpolation=interpolation_mode(node))),
        (f"{_size(node)} center crop", CenterCrop(node.SIZE)),
        _to_tensor(),
    ]
    return steps + [make(node) for name, make in ON_TENSOR.items() if name in choices]


def _to_tensor() -> Step:
    return "to torch tensor of range [0, 1]", ToTensor()


def _size(node: CfgNode) -> str:
    return f"{node.SIZE[0]}x{node.SIZE[1]}"


class DatasetWrapper(Dataset):
    """Reads and transforms the images of a list of Datum. Raises DataError naming a file that is unreadable.

    The data set of `cfg`, which has been built, says how they are read. The arguments are those of Dassl's. Images of a
    few-shot training set are decoded once, as far as DATALOADER.DECODED_MB lets them be kept.
    """

    def __init__(self, cfg: CfgNode, data_source: Sequence[Datum], transform: Transform, is_train: bool = False):
        self.data_source = data_source
        self.transform = transform
        self.reading = reading_of(cfg)
        self.decoded = _room_for_decoded(cfg, len(data_source)) if is_train else None

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        image = self.transform(self._image(idx))
        return {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx, "img": image}

    def _image(self, idx: int) -> Image.Image:
        image = self.decoded.get(idx) if self.decoded else None
        if image is None:
            image = read_image(self.data_source[idx].impath, self.reading)
            if self.decoded:
                self.decoded.keep(idx, image)
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "decoded": None}  # a process that is not forked shares no memory


def _room_for_decoded(cfg: CfgNode, count: int) -> DecodedImages | None:
    megabytes = cfg.DATALOADER.get("DECODED_MB", 0)
    if megabytes < 1 or cfg.DATASET.NUM_SHOTS < 1 or not count:
        return None
    try:
        return DecodedImages(count, megabytes << 20)
    except (OSError, OverflowError) as error:
        log.warning("training images are decoded in every epoch: no room for DATALOADER.DECODED_MB (%s)", error)
        return None


class ReadableErrorsLoader(DataLoader):
    """A DataLoader in which a DataError raised by a worker process arrives as the one line it was.

    With `persistent_workers` it draws the same random numbers as without.
    """

    _iterator: Any  # of persistent workers, torch's name

    def __iter__(self) -> Batches:  # type: ignore[override]  # torch promises an iterator of a private class
        if self._iterator is not None:
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)  # torch draws it for new workers alone
        batches = super().__iter__()  # at once, since it draws a random number
        return self._iterate(batches)

    def end_workers(self) -> None:
        """End persistent workers; the next iteration starts others."""
        self._iterator = None

    def _iterate(self, batches: Batches) -> Batches:
        try:
            yield from batches
            return
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # what they hold of `batches` would keep the workers alive
            if not isinstance(error, DataError):
                raise
            message = _message_from_worker(error)
        del batches
        self.end_workers()
        raise DataError(message)


def settle_workers(cfg: CfgNode) -> None:
    """Set a DATALOADER.NUM_WORKERS of -1 to one for each core that this process may use, at most MOST_WORKERS."""
    if cfg.DATALOADER.NUM_WORKERS < 0:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        was_frozen = cfg.is_frozen()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = min(cores, MOST_WORKERS) if cores > 1 else 0
        if was_frozen:
            cfg.freeze()


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str,
    data_source: Sequence[Datum] | None,
    batch_size: int,
    tfm: Transform,
    is_train: bool = True,
) -> DataLoader:
    """Batches of `data_source`, a list of Datum.

    In training, an incomplete last batch is dropped unless it is the only one. Raises DataError if there is no image,
    and ConfigError for a sampler that there is not.
    """
    if not data_source:
        raise DataError(f"{cfg.DATASET.NAME}: no image to {'train on' if is_train else 'evaluate on'}; check the split")
    if sampler_type not in SAMPLERS:
        raise ConfigError(f'DATALOADER.*.SAMPLER: got "{sampler_type}", expected one of {", ".join(SAMPLERS)}')
    return ReadableErrorsLoader(
        DatasetWrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=SAMPLERS[sampler_type](data_source),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )


def _message_from_worker(error: DataError) -> str:
    """The message without the worker's traceback that torch puts around it."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}: "
    lines = [line for line in str(error.args[0]).splitlines() if line.startswith(kind)]
    return lines[-1].removeprefix(kind) if lines else str(error)


class DataManager:
    """Builds the dataset, its transforms and its loaders.

    Attributes: dataset, train_loader_x, val_loader (None without such images), test_loader, num_classes,
    lab2cname ({label: class name}).
    """

    def __init__(self, cfg: CfgNode):
        self.dataset = DATASET_REGISTRY.build("DATASET.NAME", cfg.DATASET.NAME, cfg)
        transforms = {is_train: build_transform(cfg, is_train=is_train) for is_train in (True, False)}

        def loader(images: list[Datum] | None, node: CfgNode, is_train: bool = False) -> DataLoader:
            return build_data_loader(cfg, node.SAMPLER, images, node.BATCH_SIZE, transforms[is_train], is_train)

        self.train_loader_x = loader(self.dataset.train_x, cfg.DATALOADER.TRAIN_X, is_train=True)
        self.val_loader = loader(self.dataset.val, cfg.DATALOADER.TEST) if self.dataset.val else None
        self.test_loader = loader(self.dataset.test, cfg.DATALOADER.TEST)
        self.num_classes = self.dataset.num_classes
        self.lab2cname = self.dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print the name, domains, and numbers of classes and images of the dataset."""
        data = self.dataset
        rows = [("Dataset", cfg.DATASET.NAME), ("Source", cfg.DATASET.SOURCE_DOMAINS)]
        rows += [("Target", cfg.DATASET.TARGET_DOMAINS), ("# classes", f"{self.num_classes:,}")]
        splits = {"train_x": data.train_x, "val": data.val, "test": data.test}
        rows += [(f"# {name}", f"{len(images):,}") for name, images in splits.items() if images]
        rows = [(name, str(value)) for name, value in rows if value]
        width = max(len(name) for name, _ in rows)
        rule = f"{'-' * width}  {'-' * max(len(value) for _, value in rows)}"
        print("\n".join([rule, *(f"{name:<{width}}  {value}" for name, value in rows), rule]))
