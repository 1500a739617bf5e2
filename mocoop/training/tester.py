"""Testing a method: its predictions on a test set, and the record that is written of them."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mocoop import timings
from mocoop.clip.shares import together
from mocoop.distributed import from_main, world_size
from mocoop.engine import BACKEND
from mocoop.methods.base import PromptMethod
from mocoop.methods.contract import check_prediction
from mocoop.protocol import BOTH, base_count
from mocoop.results.predictions import FILE_NAME as PREDICTIONS
from mocoop.results.predictions import write_predictions
from mocoop.results.record import FILE_NAME, build_record, write_record
from mocoop.timings import timed
from mocoop.training.evaluation import Measurement, images_per_class, peak_memory_mb
from mocoop.training.features import feature_batches
from mocoop.training.precision import Precision
from mocoop.training.stopping import StopRequest
from mocoop.training.zero_shot_check import ZeroShotCheck

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Which weights are tested.

    Attributes:
        epoch: epochs that they have seen.
        selection: "last_step", "best_val" (the best on the validation images), or "epoch": one that was asked for.
        sha256: of the learned tensors; None if nothing is learned.
    """

    epoch: int
    selection: str
    sha256: str | None


class Tester:
    """Tests a method in the evaluation mode, in the precision of TEST.PREC."""

    def __init__(self, cfg: CfgNode, method: PromptMethod, precision: Precision, stop: StopRequest):
        self.cfg, self.method, self.precision, self.stop = cfg, method, precision, stop
        self.measurement, self.started = Measurement(), time.time()
        self.zero_shot: dict | None = None

    @timed("tests")
    @torch.no_grad()
    def run(self, loader: DataLoader, evaluator: Any, with_zero_shot: bool) -> dict[str, float]:
        """The evaluator's results over a loader; predictions are kept for `record`."""
        with together():
            return self._run(loader, evaluator, with_zero_shot)

    def _run(self, loader: DataLoader, evaluator: Any, with_zero_shot: bool) -> dict[str, float]:
        self.method.eval()
        evaluator.reset()
        check = self._zero_shot_check(loader) if with_zero_shot else None
        use_cache = self.cfg.TEST.get("FEATURE_CACHE", True)  # a CoOp checkout's config lacks the key
        for features, batch in feature_batches(loader, self.method, self.precision, use_cache):
            self.stop.raise_if_asked()
            label = batch["label"].to(self.precision.device)
            with self.precision.autocast(testing=True):
                prediction = self._predict(features, batch)
                evidence = self.method.routing_evidence(prediction, label)
                if check is not None:
                    check.add(features, prediction["logits"], batch)
            evaluator.process(prediction["logits"], label)
            self.measurement.add(prediction | evidence, batch)
        self.zero_shot = check.summary() if check else None
        return from_main(evaluator.evaluate)

    def _predict(self, features: Tensor | None, batch: dict) -> dict[str, Tensor]:
        """`PromptMethod.predict` of a batch; where CLIP's features (B, D) are all that it takes, of these."""
        if features is not None:
            prediction = self.method.predict_features(self.method.of_encoded(features))
            return check_prediction(self.method, prediction, len(features))
        image = batch["img"].to(self.precision.device)
        with together(len(batch["label"])):
            return check_prediction(self.method, self.method.predict(image), len(image))

    def _zero_shot_check(self, loader: DataLoader) -> ZeroShotCheck | None:
        dataset: Any = loader.dataset  # torch declares no length of it
        images = self.cfg.TEST.get("ZERO_SHOT_IMAGES", 0)
        return ZeroShotCheck(self.cfg, self.method, math.ceil(len(dataset) / images)) if images > 0 else None

    @timed("writing")
    def record(
        self,
        split: str,
        dataset: Any,
        weights: Weights | None,
        folder: Path,
        train_seconds: float,
        command: dict | None,
    ) -> None:
        """Write predictions.csv and result.json of what was run."""
        trained = weights is not None and not (command or {}).get("eval_only")
        names = (getattr(self.method, "group_names", []), getattr(dataset, "domains", []))
        record = build_record(
            self.cfg,
            split=split,
            epoch=weights.epoch if weights else None,
            selection=weights.selection if weights else None,
            weights_sha256=weights.sha256 if weights else None,
            routing=self.measurement.routing(*names),
            clip_sha256=self.method.clip_model.sha256,
            manifest_sha256=getattr(dataset, "manifest_sha256", None),
            engine=BACKEND,
            ranks=world_size(),
            test_sha256=self.measurement.images_sha256(self.cfg.DATASET.ROOT),
            train_per_class=images_per_class(dataset.train_x) if trained else None,
            precision={"train": self.precision.used, "test": self.precision.tested},
            knowledge=self.method.knowledge,
            zero_shot=self.zero_shot,
            command=command,
            seconds={"train": train_seconds, "test": time.time() - self.started},
            peak_memory_mb=peak_memory_mb(self.precision.device),
            **self.measurement.summary(dataset.classnames, self._base_classes(dataset)),
        )
        if self.zero_shot and self.zero_shot["below"]:
            values = (self.zero_shot[key] for key in ("method_accuracy", "accuracy", "images"))
            logger.warning("worse than untrained: %.1f %%, zero-shot CLIP %.1f %% (on %d of the images)", *values)
        write_predictions(folder / PREDICTIONS, self.measurement.predictions(*names, self.cfg.DATASET.ROOT))
        write_record(folder / FILE_NAME, record | {"timings": timings.so_far()})

    def _base_classes(self, dataset: Any) -> int | None:
        """How many of the classes are base classes, if base and new ones are told apart."""
        return base_count(len(dataset.classnames)) if self.cfg.DATASET.get("SUBSAMPLE_CLASSES") == BOTH else None
