"""A trainer whose training can be broken off at any moment, and goes on to the same bits as if it never was.

It is a trainer of whichever engine is in use, with its own loop over the batches of an epoch. States are saved after
epochs (TRAIN.CHECKPOINT_FREQ, and always after the last), and in mid-epoch by minutes or steps
(TRAIN.CHECKPOINT_MINUTES, TRAIN.CHECKPOINT_STEPS) and on SIGTERM or Ctrl-C.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mocoop.engine import TrainerX
from mocoop.errors import CheckpointError
from mocoop.results.record import config_differences
from mocoop.training.batches import leave_stopping_to_main, reproducible
from mocoop.training.checkpoint import save_checkpoint
from mocoop.training.progress import Progress
from mocoop.training.resume_files import newest_state, progress, remove_resume_files, save_for_resuming
from mocoop.training.run_folder import refuse_other_settings
from mocoop.training.run_state import MODEL
from mocoop.training.seeding import random_state, restore_random_state
from mocoop.training.stopping import StopRequest, stop_requests

CHECKPOINT_MINUTES = 10.0  # where the config, of a CoOp checkout say, lacks TRAIN.CHECKPOINT_MINUTES


class ResumableTrainer(TrainerX):
    """Subclasses build `optim`, None where nothing learns, and give and take their state: `state`, `restore`.

    Attributes:
        stop: a request to stop, heeded after the step at hand.
        seconds_before: seconds of training before this process went on with it.
    """

    def build_data_loader(self) -> None:
        """The engine's loaders; that of training depends on the seed alone."""
        super().build_data_loader()
        self.stop, self.seconds_before = StopRequest(), 0.0
        self.stream = self.cfg.SEED if self.cfg.SEED >= 0 else secrets.randbits(32)
        self.train_loader_x = reproducible(self.train_loader_x, self.stream)
        for loader in filter(None, (self.val_loader, self.test_loader)):
            loader.worker_init_fn = leave_stopping_to_main
        self.broken_off: dict | None = None

    def state(self, **more) -> dict:
        """What a checkpoint holds, for `save_checkpoint`; `more` are entries of it."""
        raise NotImplementedError

    def restore(self, checkpoint: dict, path: Path) -> None:
        """Take over a checkpoint's state. Raises CheckpointError where it does not fit."""
        raise NotImplementedError

    def train(self) -> None:
        """Train, then test; a method that learns nothing is tested at once.

        Raises Stopped, with the state saved, where a signal asks for it.
        """
        with stop_requests() as self.stop:
            try:
                if self.optim is not None:
                    super().train()
                else:
                    self.time_start = time.time()
                    self.after_train()
            finally:
                self.close_files()

    def close_files(self) -> None:
        """Close what training writes to, however it ends."""
        self.close_writer()

    def run_epoch(self) -> None:
        """One pass over the training batches, or what is left of it, with Dassl's log lines."""
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        meters, frequency = Progress(), self.cfg.TRAIN.PRINT_FREQ
        self.saved = time.monotonic()
        with closing(self._batches()) as batches:  # ends the loader's workers, however the epoch ends
            for self.batch_idx, batch in batches:
                meters.data_ready()
                meters.batch_done(self.forward_backward(batch))
                if (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency:
                    place = self.epoch, self.max_epoch, self.batch_idx, self.num_batches
                    print(meters.line(*place, self.get_current_lr()))
                self._write_meters(meters)
                self._save_if_due()
                meters.start_batch()

    def _batches(self) -> Iterator[tuple[int, dict]]:
        """The batches that are left of this epoch, with their numbers, as an unbroken epoch would have them."""
        broken_off, self.broken_off = self.broken_off, None
        start = 0
        if broken_off is not None:
            start = broken_off["batch"]
            restore_random_state(broken_off["epoch_random_state"])
        self.epoch_random_state = random_state()
        self.train_loader_x.batch_sampler.start_at(self.epoch, start)
        batches = enumerate(self.train_loader_x, start)
        found = next(batches, None)  # the order has been drawn
        if broken_off is not None:
            restore_random_state(broken_off["random_state"])
        while found is not None:
            yield found
            found = next(batches, None)

    def _write_meters(self, meters: Progress) -> None:
        step = self.epoch * self.num_batches + self.batch_idx
        for name, meter in meters.losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, step)
        self.write_scalar("train/lr", self.get_current_lr(), step)

    def _save_if_due(self) -> None:
        """Raises Stopped, after saving, where a stop was asked for."""
        asked = self.stop.signal is not None  # once: a signal may arrive at any moment
        steps = self.cfg.TRAIN.get("CHECKPOINT_STEPS", 0)
        minutes = self.cfg.TRAIN.get("CHECKPOINT_MINUTES", CHECKPOINT_MINUTES)
        step = self.epoch * self.num_batches + self.batch_idx + 1
        by_steps = steps > 0 and step % steps == 0
        by_time = minutes > 0 and time.monotonic() - self.saved >= 60 * minutes
        if by_steps or by_time or asked:
            self.save_in_mid_epoch()
        if asked:
            self.stop.raise_if_asked()

    def save_in_mid_epoch(self) -> None:
        """Write the state after the step at hand, and keep the one before."""
        place = {"batch": self.batch_idx + 1, "epoch_random_state": self.epoch_random_state}
        save_for_resuming(self._whole_state(self.epoch, **place), Path(self.output_dir) / MODEL)
        self.saved = time.monotonic()

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name="") -> None:
        """Write what was learned, and what is needed to go on, after `epoch` (counted from 0)."""
        state = self._whole_state(epoch + 1, val_result=val_result)
        save_checkpoint(state, Path(directory) / MODEL, is_best=is_best, model_name=model_name)

    def _whole_state(self, epochs: int, **more) -> dict:
        seconds = self.seconds_before + time.time() - self.time_start
        more |= {"stream": self.stream, "train_seconds": seconds, "manifest_sha256": self._manifest_sha256()}
        return self.state(epoch=epochs, **more)

    def resume_model_if_exist(self, directory) -> int:
        """Go on from the newest state in a run's folder; the epoch to start or go on with, 0 where there is none."""
        folder = Path(directory) / MODEL
        found = newest_state(folder) if folder.is_dir() else None
        if found is None:
            if self.cfg.RESUME:
                raise CheckpointError(f"no checkpoint in {folder}, expected one to resume from")
            print("No checkpoint found, train from scratch")
            return 0
        path, checkpoint = found
        if not self.cfg.RESUME:
            self._refuse_other_run(checkpoint, Path(directory))
        epoch, batch = progress(checkpoint)
        print(f"Found checkpoint at {path} (will resume training after epoch {epoch}, batch {batch})")
        self.restore(checkpoint, path)
        self.seconds_before = checkpoint.get("train_seconds", 0.0)
        self.stream = checkpoint.get("stream", self.stream)
        self.train_loader_x.batch_sampler.stream = self.stream
        if batch:
            self.broken_off = checkpoint
        else:
            restore_random_state(checkpoint["random_state"])
        return epoch

    def _refuse_other_run(self, checkpoint: dict, folder: Path) -> None:
        """Raises ConfigError where the checkpoint was made with other settings or other training images."""
        differences = config_differences(checkpoint.get("method", {}).get("config", {}), self.cfg)
        before, now = checkpoint.get("manifest_sha256"), self._manifest_sha256()
        if before != now and before is not None:
            hint = " (each process draws its own subset without a --seed)" if self.cfg.SEED < 0 else ""
            differences.append(f"the sha256 of the manifest of training images was {before}, got {now}{hint}")
        refuse_other_settings(folder, differences)

    def _manifest_sha256(self) -> str | None:
        return getattr(self.dm.dataset, "manifest_sha256", None)

    def after_train(self) -> None:
        remove_resume_files(Path(self.output_dir) / MODEL)
        super().after_train()
