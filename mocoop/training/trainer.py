"""The one trainer of all methods, of whichever engine is in use.

It builds what a run consists of and lets it work: `TrainingLoop` trains, `Learner` takes the steps, `Tester` tests.
"""

import datetime
import logging
import secrets
import time
from pathlib import Path
from typing import cast

import torch
from yacs.config import CfgNode

from mocoop.backbone import check_classnames, check_input, load_clip
from mocoop.clip.backbone import Backbone
from mocoop.config import limit_problems
from mocoop.distributed import from_main, is_main, main_first
from mocoop.engine import TRAINER_REGISTRY, DataManager, ReadableErrorsLoader, TrainerX, plain_transform, settle_workers
from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import build_method, config_problems, get_method, methods
from mocoop.methods.base import PromptMethod
from mocoop.protocol import BOTH
from mocoop.results.record import FILE_NAME, glance, plain_config
from mocoop.timings import timed
from mocoop.training.batches import leave_stopping_to_main, of_other_images, reproducible
from mocoop.training.checkpoint import (
    BEST_MODEL,
    MODEL,
    find_checkpoint,
    load_checkpoint,
    load_pretrained_weights,
    model_folder,
    remove_resume_files,
)
from mocoop.training.evaluate import Tester, Weights, reset_peak_memory, too_few_images
from mocoop.training.features import RunFeatures, wants_best_epoch
from mocoop.training.finished import load_finished, same_input
from mocoop.training.interruptions import StopRequest, stop_requests
from mocoop.training.journal import Journal
from mocoop.training.learner import Learner, Precision
from mocoop.training.loop import TrainingLoop
from mocoop.training.optim import check_length, iterations
from mocoop.training.run_state import (
    check_classes,
    check_clip,
    check_made_for,
    known_of,
    learned_state,
    load_weights,
    structure_of,
    weights_sha256,
    with_structure,
)

OF_THE_DATA = "train_loader_x train_loader_u val_loader test_loader num_classes lab2cname num_source_domains".split()

logger = logging.getLogger(__name__)


class PromptTrainer(TrainerX):
    """Trains and evaluates the method that TRAINER.NAME names. Raises ConfigError with all that is wrong with it.

    Attributes:
        model: the method.
        command: what train.py was asked to do, for the run's record.
        stop: a request to stop, heeded after the step in progress.
        weights: those that a test would test; None while nothing is trained or loaded.
    """

    command: dict | None = None
    model: PromptMethod
    train_loader_x: ReadableErrorsLoader
    weights: Weights | None

    # --- building -------------------------------------------------------------------------------------------------

    def check_cfg(self, cfg: CfgNode) -> None:
        if problems := limit_problems(cfg) + config_problems(cfg):
            raise ConfigError("; ".join(problems))
        if cfg.TRAIN.get("DETERMINISTIC", False) and not torch.are_deterministic_algorithms_enabled():
            logger.warning(
                "TRAIN.DETERMINISTIC is True and has no effect: the train.py in use does not ask torch for it"
            )

    @timed("data")
    def build_data_loader(self) -> None:
        """The engine's loaders; the training one depends on the seed alone."""
        settle_workers(self.cfg)
        with main_first():
            self.dm = DataManager(self.cfg)
        for name in OF_THE_DATA:
            setattr(self, name, getattr(self.dm, name, None))
        if self.cfg.DATASET.get("SPLITS", "") and not hasattr(self.dm.dataset, "manifest_sha256"):
            name, data = self.cfg.DATASET.SPLITS, type(self.dm.dataset).__name__
            raise ConfigError(
                f"DATASET.SPLITS is {name!r}, which {data} of this checkout does not read: leave it empty"
            )
        if get_method(self.cfg.TRAINER.NAME).build.wants_all_images(self.cfg):
            self.train_loader_x = self._images_of_all_classes()
        stream = self.cfg.SEED if self.cfg.SEED >= 0 else secrets.randbits(32)
        method, keep_last = get_method(self.cfg.TRAINER.NAME).build, iterations(self.cfg) > 0
        plain = plain_transform(self.cfg) if method.plain_view else None
        self.train_loader_x = reproducible(
            self.train_loader_x, stream, keep_last, method.views, method.one_class_batches, plain
        )
        for loader in filter(None, (self.val_loader, self.test_loader)):
            loader.worker_init_fn = leave_stopping_to_main

    def _images_of_all_classes(self) -> ReadableErrorsLoader:
        """The training loader, of the images of classes that are not trained, too, and without labels."""
        if not hasattr(self.dm.dataset, "unlabelled"):
            name, data = self.cfg.TRAINER.NAME, type(self.dm.dataset).__name__
            raise ConfigError(f"{name} wants images of all classes, which {data} of this checkout does not give")
        return of_other_images(self.train_loader_x, self.cfg, self.dm.dataset.unlabelled())

    @timed("method")
    def build_model(self) -> None:
        cfg = self.cfg
        reset_peak_memory(self.device)
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME})")
        with main_first(), timed("CLIP"):
            clip_model = load_clip(cfg)
        print(f"CLIP: {clip_model.describe()}")
        check_input(cfg, clip_model)
        check_classnames(cfg, self.dm.dataset.classnames)
        self.stop, self.weights, self.journal = StopRequest(), None, Journal(cfg, self.output_dir)
        prec = get_method(cfg.TRAINER.NAME).settings(cfg).get("PREC", "fp32")
        self.precision = Precision(prec, self.device, cfg.TEST.get("PREC", "peers"))
        self._build_method(cfg, self.precision.prepare(clip_model))
        self._start_from(cfg.MODEL.INIT_WEIGHTS)
        self._say_what_learns()

    def _say_what_learns(self) -> None:
        learned = sum(t.numel() for t in self.model.learned_tensors().values() if t.is_floating_point())
        print(f"Building {self.cfg.TRAINER.NAME}: {learned:,} parameters learn")

    def _build_method(self, cfg: CfgNode, clip_model: Backbone, teacher: PromptMethod | None = None) -> None:
        dataset = self.dm.dataset
        all_classnames = getattr(dataset, "all_classnames", None)
        self.model = build_method(cfg, dataset.classnames, clip_model, all_classnames, teacher).to(self.device)
        self.learner = Learner(cfg, self.model, self.precision, len(self.train_loader_x))

    def _meet_teacher(self, folder: str) -> None:
        """Build the method again, with the finished run that it learns from; a test needs none."""
        if not folder:
            return
        if glance(Path(folder).expanduser() / FILE_NAME)[0] != "done":
            raise CheckpointError(f"no finished run in {folder}, expected its folder, with a {FILE_NAME} that is done")
        run = load_finished(folder, device=str(self.device))
        same_input(self.cfg, run.cfg, folder)
        self._build_method(self.cfg, self.model.clip_model, run.method_over(self.model.taught_names))
        self._start_from(self.cfg.MODEL.INIT_WEIGHTS)
        self._say_what_learns()

    def _start_from(self, name: str) -> None:
        """Take what fits of MODEL.INIT_WEIGHTS, if there is one; prompts of another CLIP may be a start, as is said."""
        if not name:
            return
        path = Path(name)
        known = known_of(load_checkpoint(path), path)
        try:
            check_clip(self.cfg, self.model.clip_model, known, path)
        except CheckpointError as error:
            logger.warning("MODEL.INIT_WEIGHTS: %s", error)
        load_pretrained_weights(self.model, path)

    # --- training -------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train, then test; a method that learns nothing is tested at once.

        Raises Stopped if a signal asks for it; the same command then resumes.
        """
        started = time.time()
        with stop_requests() as self.stop:
            try:
                seconds = self._learn() if self.learner.learns else 0.0
                print("Finish training")
                if not self.cfg.TEST.NO_TEST:
                    self._test_after_training(seconds)
                print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - started))}")
            finally:
                self.journal.close()

    def _learn(self) -> float:
        """Train to the end; the seconds that took, in all processes that worked on it."""
        check_length(self.cfg)
        if self.model.entry.trained_classes and self.model.trained_classnames != self.model.classnames:
            raise ConfigError("HEAD_CLASSES names other classes than the dataset's, expected none for training")
        self._meet_teacher(self.model.settings.get("TEACHER", ""))
        if warning := too_few_images(self.dm.dataset.train_x, self.cfg.DATASET.NUM_SHOTS):
            logger.warning(warning)
        if self.cfg.DATASET.get("SUBSAMPLE_CLASSES") == BOTH:
            raise ConfigError(f"DATASET.SUBSAMPLE_CLASSES is {BOTH}, which is for tests; train on base or all classes")
        loaders, manifest = (self.train_loader_x, self.test_loader), getattr(self.dm.dataset, "manifest_sha256", None)
        features = RunFeatures(self.cfg, self.model, self.precision, *loaders, self.dm.dataset.val, self.stop)
        features.check_best_epoch()
        where = (self.train_loader_x, self.journal, self.output_dir, manifest)
        loop = TrainingLoop(self.cfg, self.learner, *where, self.stop, lambda: self.test("val"), features)
        loop.run()
        self.train_loader_x.end_workers()
        if is_main():
            remove_resume_files(Path(self.output_dir) / MODEL)
        sha256 = weights_sha256(self.model.learned_state())
        self.weights = Weights(loop.epochs, "last_step", sha256)
        return loop.seconds()

    def _test_after_training(self, seconds: float) -> None:
        if self.learner.learns and wants_best_epoch(self.cfg):
            print("Deploy the model with the best val performance")
            self.load_model(self.output_dir)
        else:
            print("Deploy the last-epoch model")
        self.test(train_seconds=seconds)

    # --- testing --------------------------------------------------------------------------------------------------

    def test(self, split: str | None = None, train_seconds: float = 0.0) -> float:
        """Accuracy in percent on a split; without one on TEST.SPLIT, and the run's record is written too."""
        final, asked = split is None, split or self.cfg.TEST.SPLIT
        split, loader = "test", self.test_loader
        if asked == "val" and self.val_loader is not None:
            split, loader = "val", self.val_loader
        print(f"Evaluate on the *{split}* set")
        untrained = self.learner.learns and self.weights is None
        tester = Tester(self.cfg, self.model, self.precision, self.stop)
        results = tester.run(loader, with_zero_shot=final and self.weights is not None)
        self.journal.results(split, results)
        if final and untrained:
            logger.warning("nothing was trained or loaded: no record is written of this test")
        elif final and is_main():
            tester.record(split, self.dm.dataset, self.weights, Path(self.output_dir), train_seconds, self.command)
        return next(iter(results.values()))

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load what was learned, for evaluation: after `epoch` epochs, else the best by validation, else the last.

        The method takes the structure it was trained with: MoCoOp keeps the groups of its source dataset.

        Raises:
            ConfigError: if no folder is named.
            CheckpointError: for a file that is missing, damaged or made for something else.
        """
        if not self.learner.learns:
            print(f"{self.cfg.TRAINER.NAME} learns nothing: no weights to load")
            return
        if not directory:
            raise ConfigError(
                f"{self.cfg.TRAINER.NAME} learns, and --model-dir is empty: name the folder of the run to evaluate"
            )
        path = from_main(lambda: find_checkpoint(model_folder(directory), epoch))
        checkpoint = from_main(lambda: load_checkpoint(path))
        check_made_for(self.cfg, checkpoint, path)
        check_clip(self.cfg, self.model.clip_model, known_of(checkpoint, path), path)
        self._take_structure(structure_of(checkpoint, path), path)
        check_classes(self.model, checkpoint, path)
        load_weights(self.model, checkpoint, path)
        self.model.load_extra_state(checkpoint.get("extra_state", {}))
        sha256 = weights_sha256(learned_state(checkpoint, path))
        self.weights = Weights(checkpoint["epoch"], _selection(checkpoint, path), sha256)
        print(f'Loading weights to {MODEL} from "{path}" (epoch = {checkpoint["epoch"]})')

    def _take_structure(self, structure: dict, path: Path) -> None:
        own = plain_config(self.model.structure())
        kept = [key for key, value in plain_config(structure).items() if value != own.get(key)]
        if kept:
            shown = (key if isinstance(structure[key], (list, tuple)) else f"{key} {structure[key]}" for key in kept)
            print(f"Keeping the structure {path} was trained with: {', '.join(shown)}")
            self._build_method(with_structure(self.cfg, structure), self.model.clip_model)


def trainer_of(name: str) -> type[PromptTrainer]:
    """The trainer of a method, which is registered under its name. Raises ConfigError for an unknown method."""
    entry = get_method(name)
    if name not in TRAINER_REGISTRY.registered_names():
        attributes = {"__doc__": f"Trains {name}: {entry.title}.", "__module__": PromptTrainer.__module__}
        TRAINER_REGISTRY.register()(type(name, (PromptTrainer,), attributes))
    return cast(type[PromptTrainer], TRAINER_REGISTRY.get(name))


def register_trainers() -> None:
    """Register the trainers of all methods that have none yet, those of plugins too."""
    for name in methods():
        trainer_of(name)


def _selection(checkpoint: dict, path: Path) -> str:
    """How the weights in a file were chosen."""
    if path.name == BEST_MODEL:
        return "best_val"
    asked = checkpoint.get("method", {}).get("config", {}).get("OPTIM", {}).get("MAX_EPOCH")
    epochs = checkpoint.get("epochs", asked)  # earlier versions did not say
    return "last_step" if checkpoint["epoch"] == epochs else "epoch"
