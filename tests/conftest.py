"""What several test areas share: one folder of Shapes sets, made once per test run."""

import signal

import pytest
import torch

import datasets  # noqa: F401 (registers the datasets)
import trainers  # noqa: F401 (registers the trainers)
from tests import counts

torch.set_num_threads(1)
# Started in the background a shell's child ignores Ctrl-C, and so would all that the tests start to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """A data root; the Shapes sets appear in it on first use."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def trained_runs(data_root, tmp_path_factory):
    """Small runs of each method, trained when they are first asked for (tests/trained.py)."""
    from tests.trained import TrainedRuns

    return TrainedRuns(data_root, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs that take about a second, in processes of their own or in this one (tests/faults/runs.py)."""
    from tests.faults.runs import Runs, write_few_shapes

    data = tmp_path_factory.mktemp("few")
    write_few_shapes(data)
    return Runs(data, tmp_path_factory.mktemp("short_runs"))


@pytest.fixture(autouse=True)
def no_cached_features(monkeypatch):
    """Every test computes its features, unless it asks for a cache of its own."""
    monkeypatch.setenv("MOCOOP_CACHE", "off")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # this is a process of pytest-xdist
        session.config.workeroutput["counts"] = counts.to_plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    counts.add_plain(getattr(node, "workeroutput", {}).get("counts", {"figures": [], "notes": []}))


def pytest_terminal_summary(terminalreporter):
    for line in counts.lines():
        terminalreporter.write_line(line)
