import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Files need not survive a power cut here, and hundreds are written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
