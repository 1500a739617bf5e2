"""CLIP's features of the images of a run: batch by batch for its tests, as a whole for methods that are fitted to them.

They are computed, or where CLIP's own tower gives them taken from what earlier runs have kept: one file for each CLIP,
precision and list of images (`mocoop.clip.features`). The last bits of a feature depend on the batch that its image was
in, so a list is always encoded in the same batches, and its file is that of these.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from tqdm import tqdm
from yacs.config import CfgNode

from mocoop.clip.features import computing, keep, kept_tensor, read_kept
from mocoop.clip.identity import key_of, module_sha256
from mocoop.clip.shares import together
from mocoop.distributed import from_main, is_main, of_all, own_range, world_size
from mocoop.errors import ConfigError
from mocoop.files import cache_folder, file_sha256, file_states
from mocoop.methods.base import PromptMethod, keeps
from mocoop.timings import timed, waits
from mocoop.training.batches import (
    PlacedBatches,
    SeededDataset,
    leave_stopping_to_main,
    merged,
    seed_of,
    shared_batches,
    whole,
)
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision

GPU_IMAGES = 512  # that a GPU is given at once in a test: a loader's batches leave it waiting for the host
OF_A_VIEW = 1  # tells the seeds of these augmentations from those of training
SETTLED_SECONDS = 2.0  # a file written later may be written again without another time of its last change

logger = logging.getLogger(__name__)


def feature_batches(
    loader: DataLoader, method: PromptMethod, precision: Precision, use_cache: bool
) -> Iterator[tuple[Tensor | None, dict]]:
    """What `raw_features` gives; None with the batch's images for a method that takes more of them than that."""
    if method.takes_clip_features:
        yield from raw_features(loader, method, precision, use_cache)
        return
    if use_cache and cache_folder() is not None:
        name = method.entry.name
        logger.info("TEST.FEATURE_CACHE: nothing is cached, %s takes more of an image than CLIP's own feature", name)
    for batch in _whole_batches(loader, precision.device):
        yield None, batch


def raw_features(
    loader: DataLoader, method: PromptMethod, precision: Precision, use_cache: bool
) -> Iterator[tuple[Tensor, dict]]:
    """Features (B, D) of CLIP itself on the device, not normalised, and what the loader's batch says of the images.

    With `use_cache` (TEST.FEATURE_CACHE) no image is decoded of a list that, by the bytes of its files, was encoded
    before with these weights, this transform and this precision. Nothing of a method is in the features, so all methods
    share them.
    """

    def encode(batch: dict) -> Tensor:
        with precision.autocast(testing=True), together(len(batch["label"])):
            return method.raw_image_features(batch["img"].to(precision.device))

    if use_cache and cache_folder() is not None and isinstance(loader.sampler, SequentialSampler):
        yield from _kept_batches(loader, precision, encode, image_key(loader.dataset, method, precision))
        return
    for batch in _whole_batches(loader, precision.device):
        yield encode(batch), batch


def _whole_batches(loader: DataLoader, device: torch.device) -> Iterator[dict]:
    loaded = waits("decoding", shared_batches(loader))
    batches = map(whole, tqdm(loaded, total=len(loader), disable=None if is_main() else True))
    yield from merged(batches, GPU_IMAGES) if _merges(device) else batches


def _merges(device: torch.device) -> bool:
    return device.type == "cuda" and world_size() == 1


def _kept_batches(
    loader: DataLoader, precision: Precision, encode: Callable[[dict], Tensor], key: str
) -> Iterator[tuple[Tensor, dict]]:
    """The batches of `_whole_batches`, encoded or kept: what follows computes and draws the same in both cases."""
    items, size = cast(Any, loader.dataset).data_source, cast(int, loader.batch_size)
    if _merges(precision.device):
        size *= -(-GPU_IMAGES // size)
    with timed("kept features"):
        key = key_of(key, size, world_size(), files_sha256([item.impath for item in items]))
        kept = from_main(lambda: read_kept("images", key))
    logger.info("image features: %d of %d from the cache", 0 if kept is None else len(items), len(items))
    if kept is None:
        found = []
        for batch in _whole_batches(loader, precision.device):
            found.append(encode(batch))
            yield found[-1], batch
        if is_main():
            keep("images", key, torch.cat(found))
        return
    torch.empty((), dtype=torch.int64).random_(generator=loader.generator)  # which a pass over the loader draws, too
    for start in range(0, len(items), size):
        labels, domains, paths = zip(*((each.label, each.domain, each.impath) for each in items[start : start + size]))
        batch = {"label": torch.tensor(labels), "domain": torch.tensor(domains), "impath": list(paths)}
        yield kept[start : start + size].to(precision.device), batch


def files_sha256(paths: Sequence[str]) -> list[str]:
    """The SHA-256 of the bytes of each file: kept for a list of files until the system says that one has changed.

    All ranks ask for it together.
    """

    def compute() -> Tensor:
        shares = of_all([file_sha256(paths[place]) for place in own_range(len(paths))])
        return torch.tensor([list(bytes.fromhex(each)) for share in shares for each in share], dtype=torch.uint8)

    states = from_main(lambda: file_states(paths))
    latest = time.time_ns() - 1e9 * SETTLED_SECONDS
    is_settled = from_main(lambda: all(changed < latest for *_, changed, _ in states))
    digests = kept_tensor("files", key_of("sha256", states), compute) if is_settled else compute()
    return [bytes(row).hex() for row in digests.tolist()]


def image_key(dataset: Any, method: PromptMethod, precision: Precision) -> str:
    """Hash of all that turns the bytes of an image's file into a feature of CLIP itself, but for its batch."""
    transform = re.sub(r" at 0x[0-9a-f]+", "", repr(dataset.transform))  # addresses change with each process
    computed = [precision.tested, method.image_encoder.is_fast, method.clip_model.anatomy, *computing(precision.device)]
    read = [transform, repr(dataset.reading), torchvision.__version__, PIL.__version__]
    return key_of(module_sha256(method.clip_model.visual), read, computed)


def wants_best_epoch(cfg: CfgNode) -> bool:
    """Whether the weights that are tested are those of the epoch that is best on the validation images."""
    return cfg.TEST.FINAL_MODEL == "best_val" and not cfg.TEST.NO_TEST


class RunFeatures:
    """The `FewShotFeatures` of a run. None of torch's random numbers are drawn for them.

    Args:
        loader: the training loader, of `mocoop.training.batches.reproducible`.
        test_loader: whose transform the images get that are not augmented.
        validation: validation images, a list of Datum; None without any.
    """

    def __init__(
        self,
        cfg: CfgNode,
        method: PromptMethod,
        precision: Precision,
        loader: DataLoader,
        test_loader: DataLoader,
        validation: list | None,
        stop: StopRequest,
    ):
        self.cfg, self.method, self.precision, self.stop = cfg, method, precision, stop
        self.augmented = cast(SeededDataset, loader.dataset)
        self.stream = cast(PlacedBatches, loader.batch_sampler).stream
        self.test_data: Any = test_loader.dataset  # the engine's
        self.val, self.loader_class = validation or [], type(test_loader)
        self.use_cache = cfg.TEST.get("FEATURE_CACHE", True)

    def training(self, views: int = 0) -> tuple[Tensor, Tensor]:
        items = self.augmented.dataset.data_source
        label = torch.tensor([item.label for item in items], device=self.precision.device)
        if not views:
            return self._as_tested(items).unsqueeze(0), label
        return self._augmented(views, items).unflatten(0, (views, len(items))), label

    @property
    def can_choose(self) -> bool:
        """Whether there are validation images, none of them a test image: nothing may be chosen on those."""
        tested = {item.impath for item in self.test_data.data_source}
        return bool(self.val) and not any(item.impath in tested for item in self.val)

    def check_best_epoch(self) -> None:
        """Raises ConfigError where the best epoch is wanted and none can be chosen."""
        if not wants_best_epoch(self.cfg):
            return
        if not self.can_choose:
            found = f"{self.cfg.DATASET.NAME} has no validation images other than test images"
        elif not keeps(type(self.method), "select"):
            found = f"{self.method.entry.name} chooses on the validation images itself, after the last epoch"
        else:
            return
        raise ConfigError(f"TEST.FINAL_MODEL is best_val, expected last_step: {found}")

    def validation(self) -> tuple[Tensor, Tensor] | None:
        if not self.can_choose:
            return None
        label = torch.tensor([item.label for item in self.val], device=self.precision.device)
        return self._as_tested(self.val), label

    def _as_tested(self, items: list) -> Tensor:
        wrapper = type(self.test_data)
        data = wrapper(self.cfg, items, transform=self.test_data.transform, is_train=False)
        loader = self._loader(data, batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE)
        return self._collect(loader, self.use_cache)

    def _augmented(self, views: int, items: list) -> Tensor:
        def compute() -> Tensor:
            seeded = [(i, seed_of(self.stream, view, i, OF_A_VIEW)) for view in range(views) for i in range(len(items))]
            size = self.cfg.DATALOADER.TEST.BATCH_SIZE
            batches = [seeded[start : start + size] for start in range(0, len(seeded), size)]
            return self._collect(self._loader(self.augmented, batch_sampler=batches), use_cache=False)

        if not self.use_cache:
            return compute()
        size, digests = self.cfg.DATALOADER.TEST.BATCH_SIZE, files_sha256([item.impath for item in items])
        drawn = [self.stream, views, size, world_size()]
        key = key_of(image_key(self.augmented.dataset, self.method, self.precision), digests, drawn)
        return kept_tensor("views", key, compute).to(self.precision.device)

    def _loader(self, data: Dataset, **batches: Any) -> DataLoader:
        return self.loader_class(
            data,
            num_workers=self.cfg.DATALOADER.NUM_WORKERS,
            worker_init_fn=leave_stopping_to_main,
            generator=torch.Generator(),
            **batches,
        )

    def _collect(self, loader: DataLoader, use_cache: bool) -> Tensor:
        found = []
        for features, _ in raw_features(loader, self.method, self.precision, use_cache):
            self.stop.raise_if_asked()
            found.append(features)
        return torch.cat(found)
