"""What several test areas share: one folder of Shapes sets, made once per test run."""

import contextlib
import ctypes
import gc
import logging
import os
import signal
from pathlib import Path

import pytest
import torch

import datasets  # noqa: F401 (registers the datasets)
import trainers  # noqa: F401 (registers the trainers)
from mocoop.backbone import keep_loaded
from tests import counts

HERE = Path(__file__).parent
TRAINING = {"data_root", "whole_root", "trained_runs", "runs"}  # fixtures that train or draw pictures
LONG = (  # tests that train in themselves, start processes, wait, write many files, or try many inputs: below tests/
    "clip/test_activation.py",
    "clip/test_hugging_face.py",
    "clip/test_identity.py",
    "clip/test_open_clip.py",
    "clip/test_shares.py",
    "clip/test_text_encoder.py",
    "clip/test_tower_parts.py",
    "datasets/test_fifteen.py",
    "datasets/test_folder_training.py",
    "engine/test_backend.py",
    "engine/test_data_loader.py",
    "engine/test_decoded.py",
    "examples/",
    "faults/",
    "gpu/",
    "hostile/",
    "methods/test_against_naive.py",
    "methods/test_auto_groups.py",
    "methods/test_backbones.py",
    "methods/test_coop_and_cocoop.py",
    "methods/test_every_method.py",
    "methods/test_foreign_checkpoints.py",
    "methods/test_mixture.py",
    "methods/test_mixture_runs.py",
    "methods/test_steps_read_no_values.py",
    "protocols/test_cluster.py",
    "protocols/test_execute.py",
    "protocols/test_slurm.py",
    "protocols/test_soak.py",
    "protocols/test_worker.py",
    "report/test_write.py",
    "results/figures/",
    "results/test_agreement.py",
    "results/test_compare.py",
    "results/test_coverage.py",
    "results/test_planning.py",
    "results/test_published_tables.py",
    "runs/test_clip_of_a_run.py",
    "runs/test_same_pixels.py",
    "scripts/",
    "shapes/test_dataset.py",
    "shapes/test_writer.py",
    "test_backbone.py",
    "test_console.py",
    "test_package.py",
    "tiny/",
    "tools/test_datasets.py",
    "tools/test_run.py",
    "tools/test_table.py",
    "trainers/",
    "training/test_learner.py",
    "training/test_ranks.py",
    "transduce/test_runs.py",
)
torch.set_num_threads(1)
keep_loaded()  # as a worker of `mocoop run` does: a run of a test starts from a copy of the CLIP that was loaded last
# A shell's child in the background ignores Ctrl-C, and that of `nohup` a terminal's end: so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
gc.freeze()  # what was imported stays: no collection has to go through it, in this process or a fork


def is_long(path: Path) -> bool:
    return path.is_relative_to(HERE) and path.relative_to(HERE).as_posix().startswith(LONG)


def pytest_ignore_collect(collection_path, config):
    """With `-m fast`, do not even import what is long."""
    return True if config.option.markexpr == "fast" and is_long(collection_path) else None


def pytest_collection_modifyitems(items):
    """Mark as `fast` what takes moments; CONTRIBUTING.md says by which rule. Files with others come first, so that no
    process works on a long one when the rest are done."""
    for item in items:
        trains = TRAINING & set(getattr(item, "fixturenames", ()))
        if not trains and not is_long(item.path) and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.fast)
    long = {item.path for item in items if item.get_closest_marker("fast") is None}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def whole_root(shared):
    """A data root; the Shapes sets appear in it on first use."""
    return shared / "whole"


@pytest.fixture(scope="session")
def data_root(shared, whole_root):
    """The same, with eight of ShapesBoth's 25 test images a class."""
    from tests.trained import reduced_root

    return reduced_root(whole_root, shared / "data", test_images=8)


@pytest.fixture(scope="session")
def trained_runs(shared, whole_root, tmp_path_factory):
    """Small runs of each method, trained when they are first asked for (tests/trained.py)."""
    from tests.trained import TrainedRuns

    return TrainedRuns(whole_root, shared / "trained", tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def runs(shared, tmp_path_factory):
    """Runs that take about a second, in processes of their own or in this one (tests/faults/runs.py)."""
    from tests.faults.runs import Runs

    return Runs(shared / "few", shared / "references", tmp_path_factory.mktemp("short_runs"))


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """Between files what is free goes back to the system (glibc keeps it else): every fork maps all that is held."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(autouse=True)
def no_cached_features(monkeypatch):
    """Every test computes its features, unless it asks for a cache of its own."""
    monkeypatch.setenv("MOCOOP_CACHE", "off")


@pytest.fixture(autouse=True)
def no_log_lines_of_runs_before():
    """A run in this process has the library's log printed; later tests read what is printed."""
    yield
    logging.getLogger("mocoop").handlers.clear()


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # this is a process of pytest-xdist
        session.config.workeroutput["counts"] = counts.to_plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    counts.add_plain(getattr(node, "workeroutput", {}).get("counts", {"figures": [], "notes": []}))


def pytest_terminal_summary(terminalreporter):
    for line in counts.lines():
        terminalreporter.write_line(line)
