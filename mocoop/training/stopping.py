"""Asking a run to stop: SIGTERM, as job schedulers send it, and Ctrl-C let it save its state first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mocoop.distributed import highest


class Stopped(Exception):
    """The run was asked to stop; what it needs to go on is saved.

    Attributes:
        signal: the signal that asked.
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}; run the same command to resume")


class StopRequest:
    """Whether a signal has asked for a stop, this rank or another; all ask after it at the same points."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def is_asked(self) -> bool:
        number = highest(self.signal or 0)  # read once: a signal may arrive at any moment
        self.signal = number or self.signal
        return number > 0

    def raise_if_asked(self) -> None:
        """Raises Stopped once a stop was asked for."""
        if self.is_asked() and self.signal is not None:
            raise Stopped(self.signal)

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler: note the first; a second Ctrl-C stops at once, without saving."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """SIGTERM and SIGINT become requests meanwhile (in the main thread, the only one that may handle them)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, request.receive) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
