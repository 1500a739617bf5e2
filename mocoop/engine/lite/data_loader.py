"""Batches of images: dictionaries with keys img, label, domain, impath and index."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler
from yacs.config import CfgNode

from mocoop.engine.lite.dataset import Datum
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image, reading_of

SAMPLERS: dict[str, Callable[[Sequence[Datum]], Sampler[int]]] = {
    "RandomSampler": RandomSampler,
    "SequentialSampler": SequentialSampler,
}
Transform = Callable[[Image.Image], Tensor]
Batches = Iterator[dict[str, Any]]


class DatasetWrapper(Dataset):
    """Reads and transforms the images of a list of Datum. Raises DataError naming a file that is unreadable.

    The data set of `cfg`, which has been built, says how they are read. The arguments are those of Dassl's.
    """

    def __init__(self, cfg: CfgNode, data_source: Sequence[Datum], transform: Transform, is_train: bool = False):
        self.data_source = data_source
        self.transform = transform
        self.reading = reading_of(cfg)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        image = self.transform(read_image(item.impath, self.reading))
        return {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx, "img": image}


class ReadableErrorsLoader(DataLoader):
    """A DataLoader in which a DataError raised by a worker process arrives as the one line it was."""

    def __iter__(self) -> Batches:  # type: ignore[override]  # torch promises an iterator of a private class
        batches = super().__iter__()  # at once, since it draws a random number
        return self._iterate(batches)

    @staticmethod
    def _iterate(batches: Batches) -> Batches:
        try:
            yield from batches
            return
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # what they hold of `batches` would keep the workers alive
            if not isinstance(error, DataError):
                raise
            message = _message_from_worker(error)
        del batches  # ends the workers now
        raise DataError(message)


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
