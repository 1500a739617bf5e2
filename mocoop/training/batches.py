"""Training batches that depend on the seed alone: not on the number of loader workers, nor on interruptions.

The order of the images is drawn as Dassl draws it, from torch's generator when an epoch starts. The augmentation of an
image is drawn from generators seeded by (stream, epoch, place in the order), so that any process may load it, and a
run that resumes in mid-epoch skips batches without loading them.
"""

import copy
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler
from yacs.config import CfgNode

from mocoop.distributed import of_all, own_places, world_size
from mocoop.engine import ReadableErrorsLoader

WORKERS_GRACE_SECONDS = 30
Transform = Callable[[Image.Image], Tensor]


class PlacedBatches(Sampler):
    """The batches of a batch sampler, each index beside the seed of its place in the epoch.

    Args:
        stream: what tells this run's random numbers from those of other seeds.
    """

    def __init__(self, batch_sampler: "BatchSampler | OneClassBatches", stream: int):
        self.batch_sampler, self.stream = batch_sampler, stream
        self.epoch = self.skip = 0
        self.end: int | None = None

    def start_at(self, epoch: int, batch: int = 0, end: int | None = None) -> None:
        """Let the next pass be that of `epoch`, of its batches `batch` to `end` - 1, or to the last; all from 0."""
        self.epoch, self.skip, self.end = epoch, batch, end

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        place, skip = 0, self.skip
        for number, batch in enumerate(islice(self.batch_sampler, self.end)):
            if number >= skip:
                yield [(index, seed_of(self.stream, self.epoch, place + i)) for i, index in enumerate(batch)]
            place += len(batch)


class Wrapped(Dataset):
    """A dataset whose items are made of another's."""

    def __init__(self, dataset: Dataset):
        self.dataset: Any = dataset  # torch declares no length of it

    def __len__(self) -> int:
        return len(self.dataset)


class SeededDataset(Wrapped):
    """Items of a dataset by (index, seed), each made with generators of that seed.

    Args:
        views: how many are drawn of each image; several are stacked, (V, 3, H, W), and the first is as without others.
        plain: a transform that draws nothing, of one view more, the last; None: there is none.
    """

    def __init__(self, dataset: Dataset, views: int = 1, plain: Transform | None = None):
        super().__init__(dataset)
        self.views, self.plain = views, plain and transformed_by(dataset, plain)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        index, seed = item
        with generators_seeded(seed):
            first, *others = [self.dataset[index] for _ in range(self.views)]
        others += [self.plain[index]] if self.plain is not None else []
        return first | {"img": torch.stack([each["img"] for each in (first, *others)])} if others else first


def transformed_by(dataset: Dataset, transform: Transform) -> Any:
    """The engine's dataset with another transform; images that it has decoded serve both."""
    twin = copy.copy(dataset)
    twin.__dict__.update(vars(dataset) | {"transform": transform})
    return twin


class OneClassBatches(Sampler):
    """Batches of images of one class each: of those that still have enough, a class is drawn, and then its images.

    What is left of a class is passed over in this epoch; a class with fewer images than a batch is one short batch. All
    of an epoch is drawn when it starts, so that neither steps nor a resumed run come between.

    Args:
        labels: of all images.
    """

    def __init__(self, labels: Sequence[int], batch_size: int):
        self.batch_size = batch_size
        self._classes: dict[int, list[int]] = {}
        for place, label in enumerate(labels):
            self._classes.setdefault(label, []).append(place)

    def _batches_of(self, images: int) -> int:
        return max(images // self.batch_size, 1)

    def __len__(self) -> int:
        return sum(self._batches_of(len(places)) for places in self._classes.values())

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._drawn()

    def _drawn(self) -> list[list[int]]:
        left, drawn = [], []
        for places in self._classes.values():
            order = [places[i] for i in torch.randperm(len(places)).tolist()]
            cuts = range(0, self._batches_of(len(places)) * self.batch_size, self.batch_size)
            left.append([order[start : start + self.batch_size] for start in cuts])
        while left:
            number = int(torch.randint(len(left), ()))
            drawn.append(left[number].pop())
            if not left[number]:
                del left[number]
        return drawn


def reproducible(
    loader: DataLoader,
    stream: int,
    keep_last: bool = False,
    views: int = 1,
    one_class: bool = False,
    plain: Transform | None = None,
) -> ReadableErrorsLoader:
    """A loader of the same batches, whose `batch_sampler` is `PlacedBatches` and whose workers stay for all epochs.

    Args:
        keep_last: whether a last batch that is short is kept, if the loader drops it.
        views: of each image, drawn one after the other.
        one_class: whether the images of a batch are of one class, if there is one with as many.
        plain: a transform of one view more, the last, that draws nothing.
    """
    loaded = cast(BatchSampler, loader.batch_sampler)  # the loader may not load single items
    batches: BatchSampler | OneClassBatches = loaded
    if keep_last:
        batches = BatchSampler(loaded.sampler, loaded.batch_size, drop_last=False)
    if one_class:
        labels = [item.label for item in cast(Any, loader.dataset).data_source]
        if max(Counter(labels).values()) >= loaded.batch_size:
            batches = OneClassBatches(labels, loaded.batch_size)
    dataset, stays = SeededDataset(loader.dataset, views, plain), loader.num_workers > 0
    # forked where that can be, so that the workers share the images that were decoded
    forked = {"multiprocessing_context": "fork"} if stays and sys.platform == "linux" else {}
    return _loader_like(loader, dataset, PlacedBatches(batches, stream), persistent_workers=stays, **forked)


def of_other_images(loader: DataLoader, cfg: CfgNode, images: list) -> ReadableErrorsLoader:
    """A training loader of other images, a list of Datum, in an order drawn as Dassl draws it."""
    given: Any = loader.dataset  # the engine's
    batches = cast(BatchSampler, loader.batch_sampler)
    size = batches.batch_size
    ordered = BatchSampler(RandomSampler(images), size, drop_last=len(images) >= size)
    return _loader_like(loader, type(given)(cfg, images, transform=given.transform, is_train=True), ordered)


class OwnShares(Sampler):
    """Of each batch of a batch sampler what this rank loads, each item beside the size of the whole batch."""

    def __init__(self, batch_sampler: BatchSampler | PlacedBatches):
        self.batch_sampler = batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[tuple]]:
        for batch in self.batch_sampler:
            yield [(batch[place], len(batch)) for place in own_places(len(batch))]


class SharedDataset(Wrapped):
    """Items of a dataset that say, under `of`, of how many in their batch they are."""

    def __getitem__(self, item: tuple) -> dict:
        index, size = item
        return self.dataset[index] | {"of": size}


def shared_batches(loader: DataLoader) -> DataLoader:
    """The loader, or among several ranks one that loads this rank's share of each batch, for `whole`."""
    if world_size() == 1:
        return loader
    batches = cast("BatchSampler | PlacedBatches", loader.batch_sampler)
    return _loader_like(loader, SharedDataset(loader.dataset), OwnShares(batches))


def whole(batch: dict) -> dict:
    """A batch of `shared_batches`, with this rank's images and all else of the whole batch."""
    if "of" not in batch:
        return batch  # of a run of one rank
    size = int(batch["of"][0])
    images = {name: value for name, value in batch.items() if name.startswith("img")}
    said = of_all({name: value for name, value in batch.items() if name != "of" and name not in images})
    return images | {name: _joined([part[name] for part in said])[:size] for name in said[0]}


def merged(batches: Iterable[dict], least: int) -> Iterator[dict]:
    """Batches of at least so many images, but for the last, each made of whole ones side by side."""
    kept: list[dict] = []
    for batch in batches:
        kept.append(batch)
        if sum(len(each["label"]) for each in kept) >= least:
            yield _side_by_side(kept)
            kept = []
    if kept:
        yield _side_by_side(kept)


def _side_by_side(batches: Sequence[dict]) -> dict:
    return {name: _joined([batch[name] for batch in batches]) for name in batches[0]}


def _joined(parts: list) -> torch.Tensor | list:
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [item for part in parts for item in part]


def _loader_like(loader: DataLoader, dataset: Dataset, batch_sampler: Sampler, **options: Any) -> ReadableErrorsLoader:
    return ReadableErrorsLoader(
        dataset,
        batch_sampler=batch_sampler,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=leave_stopping_to_main,
        generator=loader.generator,
        **options,
    )


def leave_stopping_to_main(worker: int) -> None:
    """Ctrl-C, and a job scheduler's SIGTERM, reach every process of a run; the main one stops the run.

    For that it needs its workers a while longer: a step has to end, and the state to be written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(WORKERS_GRACE_SECONDS))


@contextmanager
def generators_seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's CPU generators seeded for a while, then as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch the GPUs too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_of(*parts: int) -> int:
    """A seed that other parts would not give."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
