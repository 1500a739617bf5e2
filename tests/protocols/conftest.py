"""Commands in a made-up checkout find this library, and no setting of the caller's."""

import pytest

from mocoop.protocols import execute
from tests.protocols.forks import ForkedWorker
from tests.scripts.checkout import REPOSITORY

SETTINGS = ("DATA", "OUTPUT", "CFG", "SHOTS", "SEEDS", "SOURCE", "OPTS", "PYTHON", "DRY_RUN")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def forked(monkeypatch):
    """Workers are forks of this process."""
    monkeypatch.setattr(execute, "Worker", ForkedWorker)
