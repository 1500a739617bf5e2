"""The trainer that all methods share: what is built, a step, and the state between steps.

The loop over steps that can be broken off is that of `ResumableTrainer`, the test that of `TestingTrainer`.

It is a trainer of whichever engine is in use; those registered in `trainers/` add their names to it.
"""

import logging
from pathlib import Path

import torch

from mocoop.clip.backbone import check_classnames, check_input_size, load_clip
from mocoop.errors import CheckpointError, ConfigError, TrainingError
from mocoop.methods import build_method, config_problems, get_method
from mocoop.results.history import FILE_NAME as HISTORY
from mocoop.results.history import HistoryWriter
from mocoop.results.record import plain_config
from mocoop.training import wandb_log
from mocoop.training.checkpoint import load_checkpoint, load_pretrained_weights
from mocoop.training.evaluation import reset_peak_memory
from mocoop.training.optimizer import build_optimizer
from mocoop.training.precision import Precision
from mocoop.training.run_state import (
    MODEL,
    check_made_for,
    find_checkpoint,
    grad_clip_norm,
    learned_state,
    pack,
    with_structure,
)
from mocoop.training.schedule import build_lr_scheduler
from mocoop.training.testing_trainer import TestingTrainer
from mocoop.training.zero_shot_check import TunedTower

logger = logging.getLogger(__name__)


class PromptTrainer(TestingTrainer):
    """Trains and evaluates the method that TRAINER.NAME names. Raises ConfigError with all that is wrong with it."""

    wandb = wandb_log.NoLog()

    def check_cfg(self, cfg) -> None:
        problems = config_problems(cfg)
        if problems:
            raise ConfigError("; ".join(problems))

    def build_model(self) -> None:
        cfg = self.cfg
        reset_peak_memory(self.device)
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
        if cfg.TRAIN.get("COMPILE", False):  # a CoOp checkout's config lacks the key
            self.model.image_encoder.compile()
        learned = sum(p.numel() for p in self.model.learned_parameters().values())
        print(f"Building {cfg.TRAINER.NAME}: {learned:,} parameters learn")

    def _build_method(self, cfg, clip_model) -> None:
        dataset = self.dm.dataset
        all_classnames = getattr(dataset, "all_classnames", None)
        self.model = build_method(cfg, dataset.classnames, clip_model, all_classnames).to(self.device)
        self.tower = TunedTower(self.model)

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def forward_backward(self, batch) -> dict[str, float]:
        image, label = self.parse_batch_train(batch)
        while True:
            try:
                parts = self._step(image, label, batch)
                break
            except torch.cuda.OutOfMemoryError:
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

    def _step(self, image, label, batch: dict) -> dict[str, torch.Tensor]:
        with self.precision.autocast():
            parts = self.model.loss(image, label)
        if not torch.isfinite(parts["loss"]):
            raise TrainingError(self._not_finite(parts, batch))
        self.precision.step(parts["loss"], self.model, self.optim, self.clip_norm)
        return parts

    def _not_finite(self, parts: dict, batch: dict) -> str:
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in parts.items() if name != "acc")
        files = " ".join(batch["impath"])
        return (
            f"the loss of epoch {self.epoch + 1}, batch {self.batch_idx + 1} is not finite ({values}); lower OPTIM.LR "
            f"or use a higher PREC; the last saved state is kept; the batch's images: {files}"
        )

    def close_files(self) -> None:
        if self.history is not None:
            self.history.close()
        super().close_files()

    def after_epoch(self) -> None:
        if self.history is not None:
            self.history.flush()
        self.tested_epoch = self.epoch + 1
        super().after_epoch()

    def init_writer(self, log_dir) -> None:
        super().init_writer(log_dir)
        self.wandb = wandb_log.start(self.cfg, self.output_dir)

    def write_scalar(self, tag, scalar_value, global_step=None) -> None:
        super().write_scalar(tag, scalar_value, global_step)
        self.wandb.scalar(tag, scalar_value, global_step)

    def close_writer(self) -> None:
        super().close_writer()
        self.wandb.finish()

    def state(self, **more) -> dict:
        """What a checkpoint holds; `epoch` whole epochs, and `batch` batches of the next, have been seen.

        The history up to there is on the disk then. Raises TrainingError where what was learned is not finite.
        """
        broken = [name for name, value in self.model.learned_state().items() if not torch.isfinite(value).all()]
        if broken:
            raise TrainingError(
                f"after epoch {self.epoch + 1}, batch {self.batch_idx + 1} the parameters {', '.join(broken)} are not "
                "finite; lower OPTIM.LR or use a higher PREC; the last saved state is kept"
            )
        if self.history is not None:
            self.history.flush()
        best = max(self.best_result, more["val_result"]) if more.get("val_result") is not None else self.best_result
        more = {"val_result": None, **more}
        parts = self.optim, self.sched, self.precision.scaler
        return pack(self.cfg, self.model, more.pop("epoch"), *parts, best, **more)

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

    def restore(self, checkpoint: dict, path) -> None:
        """Take over a checkpoint's state. Raises CheckpointError where it does not fit."""
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

    def _load(self, checkpoint: dict, path) -> None:
        try:
            self.model.load_learned_state(learned_state(checkpoint, path))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
