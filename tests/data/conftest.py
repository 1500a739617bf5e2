import pytest

from mocoop.data import download
from tests.data.server import Server
from tests.datasets.conftest import no_waiting_for_the_disk  # noqa: F401


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    running = Server()
    yield running
    running.close()
