"""The line of a training log: losses, time per batch, learning rate and time left."""

import datetime
import time

from mocoop.training.meters import AverageMeter, MetricMeter


class Progress:
    """Losses and times of the batches of one epoch. Call in turn `start_batch`, `data_ready`, `batch_done`."""

    def __init__(self):
        self.losses = MetricMeter()
        self.batch_time = AverageMeter()
        self.data_time = AverageMeter()
        self.start_batch()

    def start_batch(self):
        self._start = time.perf_counter()

    def data_ready(self):
        self.data_time.update(time.perf_counter() - self._start)

    def batch_done(self, losses):
        """`losses`: {name: value} of this batch, or None."""
        self.batch_time.update(time.perf_counter() - self._start)
        self.losses.update(losses)

    def line(self, epoch, max_epoch, batch, num_batches, batches_left, lr) -> str:
        """Dassl's log line for `batch` of `epoch`, both counted from 0."""
        eta = datetime.timedelta(seconds=int(self.batch_time.avg * batches_left))
        return " ".join(
            [
                f"epoch [{epoch + 1}/{max_epoch}]",
                f"batch [{batch + 1}/{num_batches}]",
                f"time {self.batch_time.val:.3f} ({self.batch_time.avg:.3f})",
                f"data {self.data_time.val:.3f} ({self.data_time.avg:.3f})",
                f"{self.losses}",
                f"lr {lr:.4e}",
                f"eta {eta}",
            ]
        )
