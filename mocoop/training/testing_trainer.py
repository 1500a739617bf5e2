"""Testing a trained method: the metrics, the record and the predictions of a run."""

import logging
import math
import time
from pathlib import Path

import torch

from mocoop.engine import BACKEND
from mocoop.results.predictions import FILE_NAME as PREDICTIONS
from mocoop.results.predictions import write_predictions
from mocoop.results.record import FILE_NAME, build_record, write_record
from mocoop.training.evaluation import Measurement, peak_memory_mb
from mocoop.training.feature_batches import feature_batches
from mocoop.training.resumable_trainer import ResumableTrainer
from mocoop.training.zero_shot_check import ZeroShotCheck

logger = logging.getLogger(__name__)


class TestingTrainer(ResumableTrainer):
    """Subclasses set `model`, a method, `precision`, `tower`, and `tested_epoch`, None where nothing was trained.

    Attributes:
        command: what train.py was asked to do, for the run's record.
    """

    command: dict | None = None

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Accuracy in percent on a split, TEST.SPLIT by default, in which case the run's record is written too."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        final, split = split is None, split or self.cfg.TEST.SPLIT
        if split != "val" or self.val_loader is None:
            split = "test"
        print(f"Evaluate on the *{split}* set")
        started, measurement = time.time(), Measurement()
        loader = self.val_loader if split == "val" else self.test_loader
        use_cache = self.cfg.TEST.get("FEATURE_CACHE", False)  # a CoOp checkout's config lacks the key
        check = self._zero_shot_check(loader) if final else None
        for features, batch in feature_batches(loader, self.model, self.precision, use_cache):
            self.stop.raise_if_asked()
            with self.precision.autocast():
                prediction = self.model.predict_features(features)
                if check is not None:
                    check.add(features, prediction["logits"], batch)
            self.evaluator.process(prediction["logits"], batch["label"].to(self.device))
            measurement.add(prediction, batch)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        if final:
            self._record(split, measurement, started, check and check.summary())
        return next(iter(results.values()))

    def _zero_shot_check(self, loader) -> ZeroShotCheck | None:
        """None where nothing was trained, and where TEST.ZERO_SHOT_IMAGES says so."""
        images = self.cfg.TEST.get("ZERO_SHOT_IMAGES", 0)
        if self.tested_epoch is None or images < 1:
            return None
        return ZeroShotCheck(self.cfg, self.model, self.tower, math.ceil(len(loader.dataset) / images))

    def _record(self, split: str, measurement: Measurement, test_started: float, zero_shot: dict | None) -> None:
        dataset, now, folder = self.dm.dataset, time.time(), Path(self.output_dir)
        train_started = getattr(self, "time_start", test_started)
        trained = self.tested_epoch is not None
        names = getattr(self.model, "group_names", []), getattr(dataset, "domains", [])
        record = build_record(
            self.cfg,
            split=split,
            epoch=self.tested_epoch,
            selection=self.cfg.TEST.FINAL_MODEL if trained else None,
            routing=measurement.routing(*names),
            manifest_sha256=getattr(dataset, "manifest_sha256", None),
            engine=BACKEND,
            zero_shot=zero_shot,
            command=self.command,
            seconds={"train": self.seconds_before + test_started - train_started, "test": now - test_started},
            peak_memory_mb=peak_memory_mb(self.device),
            **measurement.summary(dataset.classnames),
        )
        if zero_shot and zero_shot["below"]:
            values = (zero_shot[key] for key in ("method_accuracy", "accuracy", "images"))
            logger.warning("worse than untrained: %.1f %%, zero-shot CLIP %.1f %% (on %d of the images)", *values)
        write_predictions(folder / PREDICTIONS, measurement.predictions(*names, self.cfg.DATASET.ROOT))
        write_record(folder / FILE_NAME, record)
