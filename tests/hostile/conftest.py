"""A folder for the fuzz tests, and no waiting."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Files need not survive a power cut here, and hundreds are written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the files of a module's fuzz tests, which hypothesis cannot have one each of."""
    return tmp_path_factory.mktemp("fuzz")
