"""Trainers on labelled images: data, epochs, evaluation and the log lines that scripts for CoOp parse."""

import datetime
import time
from pathlib import Path

import torch
from tqdm import tqdm

from mocoop.engine.lite.data_manager import DataManager
from mocoop.engine.lite.evaluation import build_evaluator
from mocoop.engine.lite.trainer_base import TrainerBase
from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import BEST_MODEL
from mocoop.training.progress import Progress


class SimpleTrainer(TrainerBase):
    """Builds data, model and evaluator from a config; saves and tests after each epoch as it says.

    Attributes: cfg, device, dm, train_loader_x, train_loader_u, val_loader, test_loader, num_classes, lab2cname,
    evaluator, output_dir, best_result, epoch, max_epoch, time_start.
    """

    def __init__(self, cfg):
        super().__init__()
        self.check_cfg(cfg)
        self.cfg = cfg
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg):
        """Raise ConfigError for settings that this trainer cannot work with."""

    def build_data_loader(self):
        """Build the loaders and what they tell about the data."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.train_loader_u = self.dm.train_loader_u
        self.val_loader = self.dm.val_loader
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.num_source_domains = self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self):
        """Set `self.model`, and register what is trained, saved and loaded with `register_model`."""
        raise NotImplementedError

    def train(self):
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self):
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.output_dir)
        self.init_writer(Path(self.output_dir) / "tensorboard")
        self.time_start = time.time()

    def resume_model_if_exist(self, directory) -> int:
        start_epoch = super().resume_model_if_exist(directory)
        if self.cfg.RESUME and not start_epoch:
            raise CheckpointError(f'RESUME: no checkpoint in "{self.cfg.RESUME}"; expected the output folder of a run')
        return start_epoch

    def after_train(self):
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    def after_epoch(self):
        epochs_done = self.epoch + 1
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            self._save_if_best(self.test(split="val"))
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if epochs_done == self.max_epoch or (frequency > 0 and epochs_done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    def _save_if_best(self, result):
        if result > self.best_result:
            self.best_result = result
            self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_MODEL)

    @torch.no_grad()
    def test(self, split=None) -> float:
        """Evaluate on `split`, by default TEST.SPLIT; the first of the results.

        Without validation images "val" is the test set.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split != "val" or self.val_loader is None:
            split = "test"
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(self.val_loader if split == "val" else self.test_loader):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input):
        """Scores (N, C) of a batch of images."""
        return self.model(input)

    def parse_batch_test(self, batch):
        """Images (N, 3, H, W) and labels (N,), on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)


class TrainerX(SimpleTrainer):
    """Trains on the labelled images only. Attributes while it does: batch_idx, num_batches."""

    def run_epoch(self):
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        progress = Progress()
        for self.batch_idx, batch in enumerate(self.train_loader_x):
            progress.data_ready()
            progress.batch_done(self.forward_backward(batch))
            frequency = self.cfg.TRAIN.PRINT_FREQ
            if (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency:
                lr = self.get_current_lr()
                print(progress.line(self.epoch, self.max_epoch, self.batch_idx, self.num_batches, lr))
            self._write_progress(progress)
            progress.start_batch()

    def _write_progress(self, progress):
        step = self.epoch * self.num_batches + self.batch_idx
        for name, meter in progress.losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, step)
        self.write_scalar("train/lr", self.get_current_lr(), step)

    def parse_batch_train(self, batch):
        """Images (N, 3, H, W), labels (N,) and domains (N,), on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device), batch["domain"].to(self.device)
