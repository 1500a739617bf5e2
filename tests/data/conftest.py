import pytest

from mocoop.data import download
from tests.data.server import Server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    running = Server()
    yield running
    running.close()
