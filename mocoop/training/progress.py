"""The line of a training log: losses, time per batch, learning rate and time left."""

import datetime
import time
from collections import defaultdict


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
