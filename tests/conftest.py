"""What several test areas share: one folder of Shapes sets, made once per test run."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """A data root; the Shapes sets appear in it on first use."""
    return tmp_path_factory.mktemp("data")
