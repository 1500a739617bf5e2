"""CLIP's features of the images that a run may learn from, for the methods that are fitted to them as a whole."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from mocoop.clip.feature_cache import cached_tensor, key_of
from mocoop.errors import ConfigError
from mocoop.files import file_sha256
from mocoop.methods.base import PromptMethod, keeps
from mocoop.training.batches import PlacedBatches, SeededDataset, leave_stopping_to_main, seed_of
from mocoop.training.feature_batches import image_key, raw_features
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision

OF_A_VIEW = 1  # tells the seeds of these augmentations from those of training


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
        self.use_cache = cfg.TEST.get("FEATURE_CACHE", False)

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
        digests = [file_sha256(item.impath) for item in items]
        key = key_of(image_key(self.augmented.dataset, self.method, self.precision), digests, self.stream, views)
        return cached_tensor("views", key, compute).to(self.precision.device)

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
