"""The trainer that all methods share: precision, steps, checkpoints, evaluation, the run's record.

It is a trainer of whichever engine is in use; those registered in `trainers/` add their names to it.
"""

import logging
import time
from pathlib import Path

import torch

from mocoop.backbone import check_classnames, check_input_size, load_clip
from mocoop.engine import (
    BACKEND,
    TrainerX,
    build_lr_scheduler,
    build_optimizer,
    last_checkpoint,
    load_checkpoint,
    load_pretrained_weights,
    restore_random_state,
    save_checkpoint,
)
from mocoop.errors import CheckpointError, ConfigError
from mocoop.evaluation import Measurement, peak_memory_mb
from mocoop.feature_batches import feature_batches
from mocoop.methods import build_method, config_problems, get_method
from mocoop.precision import Precision
from mocoop.results.history import FILE_NAME as HISTORY
from mocoop.results.history import HistoryWriter
from mocoop.results.predictions import FILE_NAME as PREDICTIONS
from mocoop.results.predictions import write_predictions
from mocoop.results.record import FILE_NAME, build_record, plain_config, write_record
from mocoop.run_state import (
    MODEL,
    check_made_for,
    find_checkpoint,
    grad_clip_norm,
    learned_state,
    pack,
    with_structure,
)

logger = logging.getLogger(__name__)


class PromptTrainer(TrainerX):
    """Trains and evaluates the method that TRAINER.NAME names. Raises ConfigError with all that is wrong with it."""

    def check_cfg(self, cfg) -> None:
        problems = config_problems(cfg)
        if problems:
            raise ConfigError("; ".join(problems))

    def build_model(self) -> None:
        cfg = self.cfg
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME})")
        clip_model = load_clip(cfg)
        check_input_size(cfg, clip_model)
        check_classnames(cfg, self.dm.dataset.classnames)
        prec = get_method(cfg.TRAINER.NAME).settings(cfg).get("PREC", "fp32")
        self.precision = Precision(prec, self.device)
        self.clip_norm = grad_clip_norm(cfg, prec)
        self._build_method(cfg, self.precision.prepare(clip_model))
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.optim = self.sched = None
        if self.model.learned_parameters():
            self.optim = build_optimizer(None, cfg.OPTIM, param_groups=self.model.parameter_groups(cfg.OPTIM.LR))
            self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(MODEL, self.model, self.optim, self.sched)
        self.tested_epoch = self.history = None
        learned = sum(p.numel() for p in self.model.learned_parameters().values())
        print(f"Building {cfg.TRAINER.NAME}: {learned:,} parameters learn")

    def _build_method(self, cfg, clip_model) -> None:
        dataset = self.dm.dataset
        all_classnames = getattr(dataset, "all_classnames", None)
        self.model = build_method(cfg, dataset.classnames, clip_model, all_classnames).to(self.device)

    def train(self) -> None:
        """Train, then test. A method that learns nothing is tested at once."""
        if self.optim is None:
            self.time_start = time.time()
            self.after_train()
        else:
            super().train()

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def forward_backward(self, batch) -> dict[str, float]:
        image, label = self.parse_batch_train(batch)
        while True:
            try:
                parts = self._step(image, label)
                break
            except torch.OutOfMemoryError:
                if not self.model.text_encoder.halve_chunk():
                    raise
                torch.cuda.empty_cache()
                logger.warning("out of GPU memory: going on with half as many prompts per chunk")
        lr = self.get_current_lr()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        values = dict(zip(parts, torch.stack([value.detach().float() for value in parts.values()]).tolist()))
        step = self.epoch * self.num_batches + self.batch_idx + 1
        if self.history is None:
            self.history = HistoryWriter(Path(self.output_dir) / HISTORY, steps_done=step - 1)
        self.history.add(step, self.epoch + 1, lr, values)
        return values

    def _step(self, image, label) -> dict[str, torch.Tensor]:
        with self.precision.autocast():
            parts = self.model.loss(image, label)
        self.detect_anomaly(parts["loss"])
        self.precision.step(parts["loss"], self.model, self.optim, self.clip_norm)
        return parts

    def after_train(self) -> None:
        if self.history is not None:
            self.history.close()
        super().after_train()

    def after_epoch(self) -> None:
        self.history.flush()
        self.tested_epoch = self.epoch + 1
        super().after_epoch()

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
        for features, batch in feature_batches(loader, self.model, self.precision, use_cache):
            with self.precision.autocast():
                prediction = self.model.predict_features(features)
            self.evaluator.process(prediction["logits"], batch["label"].to(self.device))
            measurement.add(prediction, batch)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        if final:
            self._record(split, measurement, started)
        return next(iter(results.values()))

    def _record(self, split: str, measurement: Measurement, test_started: float) -> None:
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
            seconds={"train": test_started - train_started, "test": now - test_started},
            peak_memory_mb=peak_memory_mb(self.device),
            **measurement.summary(dataset.classnames),
        )
        write_predictions(folder / PREDICTIONS, measurement.predictions(*names, self.cfg.DATASET.ROOT))
        write_record(folder / FILE_NAME, record)

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name="") -> None:
        """Write what was learned, and what is needed to go on, after `epoch` (counted from 0)."""
        best = max(self.best_result, val_result if val_result is not None else self.best_result)
        state = pack(self.cfg, self.model, epoch + 1, self.optim, self.sched, self.precision.scaler, best, val_result)
        save_checkpoint(state, Path(directory) / MODEL, is_best=is_best, model_name=model_name)

    def load_model(self, directory, epoch=None) -> None:
        """Load what was learned, for evaluation: after `epoch` epochs, else the best by validation, else the last.

        The method takes the structure it was trained with: MoCoOp keeps the groups of its source dataset.
        Raises CheckpointError for a file that is missing, damaged or made for something else.
        """
        if self.optim is None:
            print(f"{self.cfg.TRAINER.NAME} learns nothing: no weights to load")
            return
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        path = find_checkpoint(Path(directory) / MODEL, epoch)
        checkpoint = load_checkpoint(path)
        check_made_for(self.cfg, checkpoint, path)
        structure = checkpoint.get("method", {}).get("structure", {})
        if structure and structure != plain_config(self.model.structure()):
            print(f"Keeping the structure {path} was trained with: {', '.join(structure)}")
            self._build_method(with_structure(self.cfg, structure), self.model.clip_model)
            self._models[MODEL] = self.model
        self._load(checkpoint, path)
        self.tested_epoch = checkpoint["epoch"]
        print(f'Loading weights to {MODEL} from "{path}" (epoch = {checkpoint["epoch"]})')

    def resume_model_if_exist(self, directory) -> int:
        """Go on from the last checkpoint in a run's folder; the epoch to start at, 0 where there is none."""
        path = last_checkpoint(Path(directory) / MODEL)
        if path is None:
            if self.cfg.RESUME:
                raise CheckpointError(f"no checkpoint in {Path(directory) / MODEL}, expected one to resume from")
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {path} (will resume training)")
        checkpoint = load_checkpoint(path)
        check_made_for(self.cfg, checkpoint, path)
        self._load(checkpoint, path)
        self.tested_epoch = checkpoint["epoch"]
        for key, part in (("optimizer", self.optim), ("scheduler", self.sched), ("scaler", self.precision.scaler)):
            if key not in checkpoint:
                raise CheckpointError(
                    f"{path} has no {key} state, expected a checkpoint of this trainer to resume from"
                )
            part.load_state_dict(checkpoint[key])
        self.best_result = checkpoint["best_result"]
        restore_random_state(checkpoint["random_state"])
        return checkpoint["epoch"]

    def _load(self, checkpoint: dict, path) -> None:
        try:
            self.model.load_learned_state(learned_state(checkpoint, path))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
