"""Data that a run takes moments with."""

import shutil

import pytest


@pytest.fixture
def few_root(runs):
    """A data root with ShapesBoth of twelve classes, six of them base classes, and four test images for each."""
    return runs.data


@pytest.fixture
def lent_root(runs, tmp_path):
    """A copy of it, to take things from."""
    shutil.copytree(runs.data, tmp_path / "data")
    return tmp_path / "data"
