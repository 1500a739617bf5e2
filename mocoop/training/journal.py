"""What training writes step by step: the lines of its log, history.csv, TensorBoard and Weights & Biases.

Weights & Biases is off by default, and imported only where TRAIN.WANDB names a project.
"""

import datetime
import importlib
import logging
import secrets
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yacs.config import CfgNode

from mocoop.distributed import is_main
from mocoop.errors import ConfigError, reason_of
from mocoop.results.csv_files import HISTORY, HistoryWriter
from mocoop.results.record import plain_config
from mocoop.timings import timed

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ID_FILE = "wandb.id"  # in a run's folder, so that a run that resumes stays one run there

logger = logging.getLogger(__name__)


class Journal:
    """Writes to a run's folder from `start` to `close`; outside of them, and on all ranks but one, it is silent.

    Attributes:
        history: None before the first step.
        epoch: the one in progress, from 0.
    """

    def __init__(self, cfg: CfgNode, folder: str | Path):
        self.cfg, self.folder, self.silent = cfg, Path(folder), not is_main()
        self.history: HistoryWriter | None = None
        self.tensorboard: SummaryWriter | None = None
        self.wandb: WandbLog | None = None
        self.epoch = 0

    def start(self) -> None:
        if self.silent:
            return
        self.tensorboard = _tensorboard(self.folder / "tensorboard")
        self.wandb = start_wandb(self.cfg, self.folder)

    def step(self, step: int, epoch: int, lr: float, values: dict[str, float]) -> None:
        """A row of the history; `step` and `epoch` count from 1."""
        if self.silent:
            return
        if self.history is None:
            self.history = HistoryWriter(self.folder / HISTORY, steps_done=step - 1)
        self.history.add(step, epoch, lr, values)

    def scalar(self, tag: str, value: float, step: int) -> None:
        if self.tensorboard is not None:
            self.tensorboard.add_scalar(tag, value, step)
        if self.wandb is not None:
            self.wandb.scalar(tag, value, step)

    def results(self, split: str, values: dict[str, float]) -> None:
        """What a test of a split gave."""
        for name, value in values.items():
            self.scalar(f"{split}/{name}", value, self.epoch)

    @timed("writing")
    def flush(self) -> None:
        """Hand the history to the disk."""
        if self.history is not None:
            self.history.flush()

    def close(self) -> None:
        for log in (self.history, self.tensorboard, self.wandb):
            if log is not None:
                log.close()


def _tensorboard(folder: Path) -> "SummaryWriter | None":
    try:
        with timed("imports"):
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("no TensorBoard log is written; to have one: pip install tensorboard")
        return None
    print(f"Initialize tensorboard (log_dir={folder})")
    return SummaryWriter(log_dir=str(folder))


class Average:
    """The last of some values, and their mean; as text, `last (mean)` in a number's format."""

    def __init__(self) -> None:
        self.last = self.total = 0.0
        self.count = 0

    def update(self, value: float) -> None:
        self.last = value
        self.total += self.last
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)

    def __format__(self, spec: str) -> str:
        return f"{self.last:{spec}} ({self.mean:{spec}})"


class Progress:
    """Losses and times of the batches of one epoch. Call in turn `start_batch`, `data_ready`, `batch_done`; `add` when
    a batch's values are known.
    """

    def __init__(self) -> None:
        self.losses: dict[str, Average] = defaultdict(Average)
        self.batch_time, self.data_time = Average(), Average()
        self.start_batch()

    def start_batch(self) -> None:
        self._start = time.perf_counter()

    def data_ready(self) -> None:
        self.data_time.update(time.perf_counter() - self._start)

    def batch_done(self) -> None:
        self.batch_time.update(time.perf_counter() - self._start)

    def add(self, values: dict[str, float]) -> None:
        """{name: value} of a batch."""
        for name, value in values.items():
            self.losses[name].update(value)

    def line(self, epoch: int, max_epoch: int, batch: int, num_batches: int, batches_left: int, lr: float) -> str:
        """Dassl's log line for `batch` of `epoch`, both counted from 0."""
        eta = datetime.timedelta(seconds=int(self.batch_time.mean * batches_left))
        losses = " ".join(f"{name} {average:.4f}" for name, average in self.losses.items())
        return (
            f"epoch [{epoch + 1}/{max_epoch}] batch [{batch + 1}/{num_batches}] time {self.batch_time:.3f} "
            f"data {self.data_time:.3f} {losses} lr {lr:.4e} eta {eta}"
        )


class WandbLog:
    """A run at Weights & Biases; "train/loss" and "test/accuracy" count their steps each for themselves."""

    def __init__(self, run: Any):  # wandb's, which is imported where it is wanted alone
        self.run = run
        self._sections: set[str] = set()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Log a value; `step` counts batches or epochs, as the caller does for this section of tags."""
        section = tag.partition("/")[0]
        counter = f"{section}/step"
        if section not in self._sections:
            self._sections.add(section)
            self.run.define_metric(counter)
            self.run.define_metric(f"{section}/*", step_metric=counter)
        self.run.log({tag: value, counter: step})

    def close(self) -> None:
        """Send what is left, and end the run there."""
        self.run.finish()


def start_wandb(cfg: CfgNode, folder: str | Path) -> WandbLog | None:
    """A log for the run in `folder`; None unless TRAIN.WANDB names a project.

    Raises ConfigError if it does and wandb is not installed or cannot be started.
    """
    project = cfg.TRAIN.get("WANDB", "")
    if not project:
        return None
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            f'TRAIN.WANDB is "{project}", but wandb cannot be imported ({error}): pip install wandb, or leave it empty'
        ) from error
    name = f"{cfg.TRAINER.NAME} {cfg.DATASET.NAME} {cfg.DATASET.NUM_SHOTS} shots seed {cfg.SEED}"
    options = {"id": _run_id(Path(folder)), "resume": "allow", "dir": str(folder), "config": plain_config(cfg)}
    try:
        return WandbLog(wandb.init(project=project, name=name, **options))
    except Exception as error:  # wandb raises many kinds, for a missing login or network
        raise ConfigError(
            f'TRAIN.WANDB is "{project}", but Weights & Biases cannot be started ({reason_of(error)}): run '
            "`wandb login`, set WANDB_MODE=offline, or leave TRAIN.WANDB empty"
        ) from error


def _run_id(folder: Path) -> str:
    path = folder / ID_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(8) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
