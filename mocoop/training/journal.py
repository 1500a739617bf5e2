"""What training writes step by step: history.csv, TensorBoard, Weights & Biases."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from yacs.config import CfgNode

from mocoop.distributed import is_main
from mocoop.results.history import FILE_NAME as HISTORY
from mocoop.results.history import HistoryWriter
from mocoop.timings import timed
from mocoop.training import wandb_log

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Journal:
    """Writes to a run's folder from `start` to `close`; outside of them, and on all ranks but one, it is silent.

    Attributes:
        history: None before the first step.
        epoch: the one that goes on, from 0.
    """

    def __init__(self, cfg: CfgNode, folder: str | Path):
        self.cfg, self.folder = cfg, Path(folder)
        self.history: HistoryWriter | None = None
        self.tensorboard: SummaryWriter | None = None
        self.wandb: wandb_log.WandbLog | None = None
        self.epoch = 0

    def start(self) -> None:
        if not is_main():
            return
        self.tensorboard = _tensorboard(self.folder / "tensorboard")
        self.wandb = wandb_log.start(self.cfg, self.folder)

    def step(self, step: int, epoch: int, lr: float, values: dict[str, float]) -> None:
        """A row of the history; `step` and `epoch` count from 1."""
        if not is_main():
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
