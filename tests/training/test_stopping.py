import os
import signal

import pytest

from mocoop.training.stopping import Stopped, stop_requests


def test_a_second_interrupt_stops_at_once():
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers may repeat it
        with pytest.raises(Stopped, match="stopped by SIGTERM"):
            request.raise_if_asked()
