"""CLIP's features of a loader's images, batch by batch: computed, or from a cache that all runs share."""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from mocoop.clip.feature_cache import ImageFeatureCache, cache_folder, key_of
from mocoop.clip.identity import module_sha256
from mocoop.clip.shares import together
from mocoop.distributed import from_main, is_main, of_all, own_range, world_size
from mocoop.files import file_sha256
from mocoop.methods.base import PromptMethod
from mocoop.training.batches import merged, shared_batches, whole
from mocoop.training.learner import Precision

GPU_IMAGES = 512  # that a GPU is given at once in a test: a loader's batches leave it waiting for the host

logger = logging.getLogger(__name__)


def feature_batches(
    loader: DataLoader, method: PromptMethod, precision: Precision, use_cache: bool
) -> Iterator[tuple[Tensor | None, dict]]:
    """What `raw_features` gives; None with the batch's images for a method that takes more of them than that."""
    if method.takes_clip_features:
        yield from raw_features(loader, method, precision, use_cache)
        return
    if use_cache:
        name = method.entry.name
        logger.info("TEST.FEATURE_CACHE: nothing is cached, %s takes more of an image than CLIP's own feature", name)
    for batch in _whole_batches(loader, precision.device):
        yield None, batch


def raw_features(
    loader: DataLoader, method: PromptMethod, precision: Precision, use_cache: bool
) -> Iterator[tuple[Tensor, dict]]:
    """Features (B, D) of CLIP itself on the device, not normalised, and what the loader's batch says of the images.

    With `use_cache` (TEST.FEATURE_CACHE) no image is decoded whose file, by its bytes, has been seen with these
    weights, this transform and this precision. Nothing of a method is in them, so all methods share them.
    """

    def features(batch: dict) -> Tensor:
        with precision.autocast(testing=True), together(len(batch["label"])):
            return method.raw_image_features(batch["img"].to(precision.device))

    if use_cache and cache_folder() is not None:
        yield from _cached_batches(loader, precision, features, image_key(loader.dataset, method, precision))
        return
    for batch in _whole_batches(loader, precision.device):
        yield features(batch), batch


def _whole_batches(loader: DataLoader, device: torch.device) -> Iterator[dict]:
    batches = map(whole, tqdm(shared_batches(loader), disable=None if is_main() else True))
    yield from merged(batches, GPU_IMAGES) if device.type == "cuda" and world_size() == 1 else batches


def _cached_batches(
    loader: DataLoader, precision: Precision, encode: Callable[[dict], Tensor], key: str
) -> Iterator[tuple[Tensor, dict]]:
    cache = ImageFeatureCache(key)
    cache.features = from_main(lambda: cache.features)  # another machine's may hold others
    dataset, size = cast(Any, loader.dataset), cast(int, loader.batch_size)
    items = dataset.data_source
    shares = of_all([file_sha256(items[place].impath) for place in own_range(len(items))])
    digests = [digest for share in shares for digest in share]
    missing = [i for i, digest in enumerate(digests) if digest not in cache.features]
    logger.info("image features: %d of %d from the cache", len(items) - len(missing), len(items))
    if missing:
        left = DataLoader(Subset(dataset, missing), batch_size=size, num_workers=loader.num_workers)
        for batch in _whole_batches(left, precision.device):
            for i, feature in zip(batch["index"].tolist(), encode(batch).cpu()):
                cache.features[digests[i]] = feature
        if is_main():
            cache.save()
    for start in range(0, len(items), size):
        chosen = range(start, min(start + size, len(items)))
        features = torch.stack([cache.features[digests[i]] for i in chosen]).to(precision.device)
        labels, domains, paths = zip(*((items[i].label, items[i].domain, items[i].impath) for i in chosen))
        yield features, {"label": torch.tensor(labels), "domain": torch.tensor(domains), "impath": list(paths)}


def image_key(dataset: Any, method: PromptMethod, precision: Precision) -> str:
    """Hash of all that turns the bytes of an image's file into a feature of CLIP itself."""
    versions = [torch.__version__, torchvision.__version__, PIL.__version__]
    computed = [precision.tested, precision.device.type, method.image_encoder.is_fast, method.clip_model.anatomy]
    transform = re.sub(r" at 0x[0-9a-f]+", "", repr(dataset.transform))  # addresses change with each process
    computed += [repr(dataset.reading)]
    return key_of(module_sha256(method.clip_model.visual), transform, computed, versions)
