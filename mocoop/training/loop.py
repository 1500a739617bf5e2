"""The loop of training, which can be interrupted at any moment and continues to the same bits.

States are saved after epochs (TRAIN.CHECKPOINT_FREQ, and always after the last), within an epoch by minutes or steps
(TRAIN.CHECKPOINT_MINUTES, TRAIN.CHECKPOINT_STEPS), and on SIGTERM or Ctrl-C. A state of all of an epoch's steps may
still have the validation before it.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mocoop.clip.identity import tensors_sha256
from mocoop.clip.shares import together
from mocoop.distributed import from_main, is_main, of_all
from mocoop.errors import CheckpointError, TrainingError
from mocoop.results.record import config_differences
from mocoop.timings import timed
from mocoop.training.batches import PlacedBatches, shared_batches, whole
from mocoop.training.checkpoint import BEST_MODEL, MODEL, newest_state, progress, save_checkpoint, save_for_resuming
from mocoop.training.features import RunFeatures, wants_best_epoch
from mocoop.training.interruptions import Stopped, StopRequest
from mocoop.training.journal import Journal, Progress
from mocoop.training.learner import Learner, StepValues
from mocoop.training.optim import iterations
from mocoop.training.run_folder import refuse_other_settings, without_clip
from mocoop.training.run_state import (
    check_clip,
    check_made_for,
    known_of,
    pack,
    random_state,
    restore,
    restore_random_state,
    weights_sha256,
)

CHECKPOINT_MINUTES = 10.0  # if the config, of a CoOp checkout say, lacks TRAIN.CHECKPOINT_MINUTES
FIRST_STEPS = 5  # of a process, in which plans are made and a graph is captured


class Launched(NamedTuple):
    """A step that was launched: what it measured, its number and epoch, both from 1, its rate and the one after it."""

    measured: StepValues
    step: int
    epoch: int
    lr: float
    next_lr: float


class TrainingLoop:
    """Epochs of steps; of a run that trains by iterations the last one ends where these do.

    Args:
        loader: of `mocoop.training.batches.reproducible`.
        folder: of the run; states are read from it (or from cfg.RESUME) and written to it.
        manifest_sha256: of the training images.
        validate: the accuracy on the validation images, for TEST.FINAL_MODEL best_val.
        features: of the run's images, for methods that are fitted to them.

    Attributes:
        epoch, batch: those in progress, from 0.
        epochs: how many there are.
        seconds_before: seconds of training before this process continued it.
    """

    def __init__(
        self,
        cfg: CfgNode,
        learner: Learner,
        loader: DataLoader,
        journal: Journal,
        folder: str | Path,
        manifest_sha256: str | None,
        stop: StopRequest,
        validate: Callable[[], float],
        features: RunFeatures,
    ):
        self.cfg, self.learner, self.loader, self.journal = cfg, learner, loader, journal
        self.order = cast(PlacedBatches, loader.batch_sampler)
        self.folder, self.manifest_sha256 = Path(folder), manifest_sha256
        self.stop, self.validate, self.features = stop, validate, features
        self.epoch = self.batch = 0
        self.steps = iterations(cfg, len(loader)) or cfg.OPTIM.MAX_EPOCH * len(loader)
        self.epochs = math.ceil(self.steps / len(loader))
        self.best_result, self.seconds_before, self.started = -float("inf"), 0.0, time.time()
        self._interrupted: dict | None = None
        self._launched: Launched | None = None
        self._taken = 0  # steps, by this process

    def run(self) -> None:
        """Train from the newest state to the last epoch. Raises Stopped if a signal asks for it."""
        method, first = self.learner.method, self._resume()
        self._check_ranks()
        self.journal.start()
        self.started, self._saved = time.time(), time.monotonic()
        if method.takes_steps:
            print(self.learner.describe())
        if first is None:
            self._fit()
        for self.epoch in range(first or 0, self.epochs):
            if method.takes_steps:
                self._run_epoch()
            if self.epoch + 1 == self.epochs:
                with self._saved_if_stopped(), together():
                    method.select(self.features)
            self.journal.epoch = self.epoch
            self._after_epoch()

    def seconds(self) -> float:
        """Of training so far."""
        return self.seconds_before + time.time() - self.started

    @timed("steps")
    def _fit(self) -> None:
        with together():
            self.learner.method.fit(self.features)

    # --- an epoch -------------------------------------------------------------------------------------------------

    def _run_epoch(self) -> None:
        """One pass over the training batches, or what is left of it, with Dassl's log lines.

        A step's values are read after the next step has been launched, so that a GPU is never waited for; and before
        a line is printed, a state is saved, or the epoch ends.
        """
        self.learner.method.train()
        count, frequency, self._meters = self._batches_of_epoch(self.epoch), self.cfg.TRAIN.PRINT_FREQ, Progress()
        with closing(self._batches()) as batches:  # ends the loader's workers, however the epoch ends
            for self.batch, batch in batches:
                self._meters.data_ready()
                self._taken += 1
                with timed("steps" if self._taken > FIRST_STEPS else "first steps"):
                    launched = self._step(batch)
                    self._read_values()
                self._launched = launched
                is_due = (self.batch + 1) % frequency == 0 or count < frequency
                if is_due:
                    self._read_values()
                self._meters.batch_done()
                if is_due:
                    left = self.steps - self._steps_done()
                    print(self._meters.line(self.epoch, self.epochs, self.batch, count, left, self.learner.lr))
                self._save_if_due()
                self._meters.start_batch()
        self._read_values()
        if skipped := self.learner.precision.take_skipped():
            print(f"epoch [{self.epoch + 1}/{self.epochs}] amp skipped {skipped} steps whose gradients overflowed")

    def _step(self, batch: dict) -> Launched:
        values, lr = self.learner.step(batch, self._place()), self.learner.lr
        self.learner.end_step()
        if self.batch + 1 == self._batches_of_epoch(self.epoch):
            self.learner.end_epoch(self.epoch + 1, self.epochs)
        return Launched(values, self._steps_done(), self.epoch + 1, lr, self.learner.lr)

    @timed("steps")
    def _read_values(self) -> None:
        """Enter the values of the last step that was launched, if they are not yet. Raises TrainingError for a loss
        that is not finite."""
        launched, self._launched = self._launched, None
        if launched is None:
            return
        measured, step, epoch, lr, next_lr = launched
        values = measured.read()
        self._meters.add(values)
        self.journal.step(step, epoch, lr, values)
        for name, average in self._meters.losses.items():
            self.journal.scalar(f"train/{name}", average.mean, step - 1)
        self.journal.scalar("train/lr", next_lr, step - 1)

    def _batches(self) -> Generator[tuple[int, dict], None, None]:
        """The batches that are left of this epoch, with their numbers, as an uninterrupted epoch would have them."""
        interrupted, self._interrupted = self._interrupted, None
        start = 0
        if interrupted is not None:
            start = interrupted["batch"]
            restore_random_state(interrupted["epoch_random_state"])
        self.batch, self._epoch_random_state = start - 1, random_state()
        self.order.start_at(self.epoch, start, self._batches_of_epoch(self.epoch))
        batches = enumerate(shared_batches(self.loader), start)
        with timed("first batch"):
            found = next(batches, None)  # the order has been drawn
        if interrupted is not None:
            restore_random_state(interrupted["random_state"])
        while found is not None:
            yield found[0], whole(found[1])
            is_last = found[0] + 1 == self._batches_of_epoch(self.epoch)
            with timed("first batch" if is_last else "loader"):
                found = next(batches, None)
        with timed("first batch"):
            del batches  # its workers end

    def _batches_of_epoch(self, epoch: int) -> int:
        return min(len(self.loader), self.steps - epoch * len(self.loader))

    def _steps_done(self) -> int:
        return self.epoch * len(self.loader) + self.batch + 1

    def _place(self) -> str:
        return f"epoch {self.epoch + 1}, batch {self.batch + 1}"

    def _after_epoch(self) -> None:
        self.journal.flush()
        done, frequency = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if wants_best_epoch(self.cfg):
            with self._saved_if_stopped():
                result = self.validate()
            if result > self.best_result:
                self.best_result = result
                self._save_epoch(BEST_MODEL, val_result=result)
        if done == self.epochs or (frequency > 0 and done % frequency == 0):
            self._save_epoch()

    # --- states ---------------------------------------------------------------------------------------------------

    @timed("writing")
    def _save_epoch(self, name: str = "", val_result: float | None = None) -> None:
        state = self._state(self.epoch + 1, val_result=val_result)
        if is_main():
            save_checkpoint(state, self.folder / MODEL, model_name=name)

    def _save_if_due(self) -> None:
        """Raises Stopped, after saving, if a stop was asked for."""
        if self.stop.shared:
            self.stop.agree()
        asked = self.stop.signal is not None
        steps = self.cfg.TRAIN.get("CHECKPOINT_STEPS", 0)
        minutes = self.cfg.TRAIN.get("CHECKPOINT_MINUTES", CHECKPOINT_MINUTES)
        by_steps = steps > 0 and self._steps_done() % steps == 0
        by_time = minutes > 0 and time.monotonic() - self._saved >= 60 * minutes
        if by_steps or by_time or asked:
            self._read_values()
            self._save_for_resuming(self._state_within())
        if asked:
            self.stop.raise_if_asked()

    @contextmanager
    def _saved_if_stopped(self) -> Iterator[None]:
        """If stopped inside the block, save the state from before it; the block runs again on resume."""
        state = self._state_within()
        try:
            yield
        except Stopped:
            self._save_for_resuming(state)
            raise

    @timed("writing")
    def _save_for_resuming(self, state: dict) -> None:
        if is_main():
            save_for_resuming(state, self.folder / MODEL)
        self._saved = time.monotonic()

    def _state_within(self) -> dict:
        """A checkpoint after the steps so far; the epoch of a method without any has not begun."""
        if not self.learner.method.takes_steps:
            return self._state(self.epoch)
        return self._state(self.epoch, batch=self.batch + 1, epoch_random_state=self._epoch_random_state)

    def _state(self, epochs: int, **more: Any) -> dict:
        """A checkpoint after `epochs` whole epochs; the history up to there is on the disk then."""
        self.learner.check_finite(self._place())
        self.journal.flush()
        return pack(
            self.cfg,
            self.learner.method,
            self.learner.stateful_parts(),
            epoch=epochs,
            epochs=self.epochs,
            best_result=float(self.best_result),
            stream=self.order.stream,
            train_seconds=self.seconds(),
            manifest_sha256=self.manifest_sha256,
            **more,
        )

    def _resume(self) -> int | None:
        """Take over the newest state in the run's folder, else that of RESUME; the epoch to continue with.

        None without a state.
        """
        other = Path(self.cfg.RESUME) if self.cfg.RESUME else None
        is_same = other is not None and other.resolve() == self.folder.resolve()
        own = None if is_same else self._newest(self.folder)
        found = own or (self._newest(other) if other else None)
        if found is None:
            if other:
                raise CheckpointError(f"no checkpoint in {other / MODEL}, expected one to resume from")
            print("No checkpoint found, train from scratch")
            return None
        path, checkpoint = found
        if own:
            self._refuse_other_run(checkpoint)
        epoch, batch = progress(checkpoint)
        print(f"Found checkpoint at {path} (will resume training after epoch {epoch}, batch {batch})")
        check_made_for(self.cfg, checkpoint, path)
        check_clip(self.cfg, self.learner.method.clip_model, known_of(checkpoint, path), path)
        self._refuse_beyond_end(path, epoch, batch)
        self._refuse_other_length(path, checkpoint)
        restore(self.learner.method, self.learner.stateful_parts(), checkpoint, path)
        if own or is_same:  # the best weights of another run are not in this folder
            self.best_result = checkpoint["best_result"]
        self.seconds_before = checkpoint.get("train_seconds", 0.0)
        self.order.stream = checkpoint.get("stream", self.order.stream)
        if batch:
            self._interrupted = checkpoint
        else:
            restore_random_state(checkpoint["random_state"])
        return epoch

    def _newest(self, run: Path) -> tuple[Path, dict] | None:
        return from_main(lambda: newest_state(run / MODEL) if (run / MODEL).is_dir() else None)

    def _refuse_beyond_end(self, path: Path, epoch: int, batch: int) -> None:
        """Raises CheckpointError for a state from beyond what this run trains; at its own end it is tested."""
        own_end = (epoch, batch) == (self.epochs, 0) and path.parent.parent.resolve() == self.folder.resolve()
        if not own_end and (epoch >= self.epochs or batch > self._batches_of_epoch(epoch)):
            expected = f"a state from before the end of {self.epochs} epochs of at most {len(self.loader)} batches"
            raise CheckpointError(f"{path} is from after epoch {epoch}, batch {batch}, expected {expected}")

    def _refuse_other_length(self, path: Path, checkpoint: dict) -> None:
        """Raises CheckpointError where an average would be of the epochs of two trainings: its shares sum to no 1."""
        before = checkpoint.get("epochs", self.epochs)  # earlier versions did not say
        if self.learner.method.averages_epochs and before != self.epochs:
            raise CheckpointError(
                f"{path} is of a training of {before} epochs, got {self.epochs}: {self.cfg.TRAINER.NAME} averages the "
                "weights of all epochs; train as many, or start from that file's weights with MODEL.INIT_WEIGHTS"
            )

    def _check_ranks(self) -> None:
        """Raises TrainingError unless all ranks would train the same: files and packages are their machines' own."""
        found = {
            "training images": self.manifest_sha256,
            "weights": weights_sha256(self.learner.method.learned_state()),
            "CLIPs": self.learner.method.clip_model.sha256,
            "random numbers": tensors_sha256([("", torch.get_rng_state())]),
        }
        everywhere = of_all(found)
        for name in found:
            if len({each[name] for each in everywhere}) > 1:
                raise TrainingError(f"the ranks have different {name}, expected the same files and packages for all")

    def _refuse_other_run(self, checkpoint: dict) -> None:
        """Raises ConfigError if the checkpoint was made with other settings or other training images."""
        made = checkpoint.get("method", {})
        differences = config_differences(made.get("config", {}), self.cfg)
        if made.get("clip_sha256"):  # `check_clip` compares them
            differences = without_clip(differences)
        before, now = checkpoint.get("manifest_sha256"), self.manifest_sha256
        if before != now and before is not None:
            hint = " (each process draws its own subset without a --seed)" if self.cfg.SEED < 0 else ""
            differences.append(f"the sha256 of the manifest of training images was {before}, got {now}{hint}")
        refuse_other_settings(self.folder, differences)
