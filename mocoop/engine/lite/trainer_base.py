"""What every trainer has: named models with their optimisers and schedules, checkpoints, and the loop over epochs."""

import logging
from collections import OrderedDict
from pathlib import Path

import torch

from mocoop.training.checkpoint import (
    BEST_MODEL,
    epoch_model,
    last_checkpoint,
    load_checkpoint,
    load_weights,
    restore_checkpoint,
    save_checkpoint,
)
from mocoop.training.seeding import random_state, restore_random_state

logger = logging.getLogger(__name__)


class TrainerBase:
    """Holds models and runs epochs; subclasses say what happens in one.

    Hooks: before_train, before_epoch, run_epoch, after_epoch, after_train, parse_batch_train, parse_batch_test,
    forward_backward, model_inference, test.
    """

    def __init__(self):
        self._models = OrderedDict()
        self._optims = OrderedDict()
        self._scheds = OrderedDict()
        self._writer = None
        self.best_result = -float("inf")

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Name a model: it is then saved, loaded, and switched between training and evaluation with the others."""
        if "_models" not in self.__dict__:
            raise AttributeError("register_model was called before super().__init__()")
        if name in self._models:
            raise ValueError(f'a model named "{name}" is already registered')
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names=None) -> list[str]:
        """All names, or `names` (one or a list) if they are registered."""
        if names is None:
            return list(self._models)
        names = names if isinstance(names, list) else [names]
        unknown = [name for name in names if name not in self._models]
        if unknown:
            raise ValueError(f"got models {unknown}, expected names among {list(self._models)}")
        return names

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Write a checkpoint of each model to `directory/<name>` after `epoch`, counted from 0."""
        for name, model in self._models.items():
            state = {
                "state_dict": model.state_dict(),
                "epoch": epoch + 1,
                "optimizer": _state_or_none(self._optims[name]),
                "scheduler": _state_or_none(self._scheds[name]),
                "val_result": val_result,
                "best_result": self.best_result,
                "random_state": random_state(),
            }
            save_checkpoint(state, Path(directory) / name, is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory) -> int:
        """Continue from the last checkpoints in `directory` as if never stopped.

        Returns the epoch to start at, counted from 0: 0 if there is no checkpoint.
        """
        paths = {name: last_checkpoint(Path(directory) / name) for name in self._models}
        if not paths or None in paths.values():
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        for name, path in paths.items():
            print(f'Loading checkpoint from "{path}"')
            checkpoint = load_checkpoint(path)
            epoch = restore_checkpoint(checkpoint, path, self._models[name], self._optims[name], self._scheds[name])
        self.best_result = checkpoint.get("best_result", self.best_result)
        if "random_state" in checkpoint:
            restore_random_state(checkpoint["random_state"])
        return epoch

    def load_model(self, directory, epoch=None):
        """Load the weights after `epoch`, by default the best ones, of each model from `directory/<name>`."""
        if not directory:
            print("Note that load_model() is skipped: no folder of a trained model is given")
            return
        file_name = BEST_MODEL if epoch is None else epoch_model(epoch)
        for name, model in self._models.items():
            path = Path(directory) / name / file_name
            checkpoint = load_checkpoint(path)
            load_weights(model, checkpoint, path)
            result = checkpoint.get("val_result")
            result = "none" if result is None else f"{result:.1f}"
            print(f"Load {path} to {name} (epoch={checkpoint.get('epoch')}, val_result={result})")

    def set_model_mode(self, mode="train", names=None):
        """Switch to mode "train", or "eval" (also called "test")."""
        if mode not in ("train", "eval", "test"):
            raise ValueError(f'got mode "{mode}", expected train, eval or test')
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names=None):
        """Step the schedules: once per epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names=None) -> float:
        """The rate of the first parameter group of the first model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    def detect_anomaly(self, loss):
        """Raise FloatingPointError unless the loss is finite."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN!")

    def init_writer(self, log_dir):
        """Start TensorBoard's log, where TensorBoard is installed."""
        if self._writer is not None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning("no TensorBoard log is written; to have one: pip install tensorboard")
            return
        print(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = SummaryWriter(log_dir=str(log_dir))

    def close_writer(self):
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag, scalar_value, global_step=None):
        """Add a value to TensorBoard's log, if there is one."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    def train(self, start_epoch, max_epoch):
        """Run the epochs `start_epoch` to `max_epoch`; `before_train` may move the start."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self):
        pass

    def after_train(self):
        pass

    def before_epoch(self):
        pass

    def after_epoch(self):
        pass

    def run_epoch(self):
        raise NotImplementedError

    def test(self, split=None):
        raise NotImplementedError

    def parse_batch_train(self, batch):
        raise NotImplementedError

    def parse_batch_test(self, batch):
        raise NotImplementedError

    def forward_backward(self, batch) -> dict:
        """One training step; {name: value} of what the log shows."""
        raise NotImplementedError

    def model_inference(self, input):
        raise NotImplementedError

    def model_zero_grad(self, names=None):
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss):
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names=None):
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss, names=None):
        """One optimiser step along the gradient of `loss`."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)


def _state_or_none(stateful):
    return None if stateful is None else stateful.state_dict()
