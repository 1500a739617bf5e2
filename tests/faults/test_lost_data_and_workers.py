"""Images and data roots that go away in mid-epoch, loader workers and whole groups of processes that are killed."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from mocoop.training.batches import SeededDataset
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.runs import BY_STEPS, WORKERS

slow = pytest.mark.slow
PLAIN_AND_WORKERS = [[], pytest.param(WORKERS, marks=slow)]


@pytest.fixture
def lent_data(runs, tmp_path):
    """A copy of the data, to take things from."""
    shutil.copytree(runs.data, tmp_path / "data")
    return tmp_path / "data"


def at_step(number: int, deed):
    return training_steps(Moments(lambda detail: deed(), at=3 * number - 2))


@pytest.mark.parametrize("opts", PLAIN_AND_WORKERS)
def test_images_removed_in_mid_epoch(runs, lent_data, ledger, opts):
    images, away = lent_data / "shapes_both/images", lent_data / "away"
    run = runs.new("CoOp", "DATASET.ROOT", lent_data, *BY_STEPS, *opts)
    with ledger.fault("images removed"):
        refusal = run.start(at_step(5, lambda: images.rename(away))).refusal
        assert f'no image file "{images}/' in refusal and ".png" in refusal
        assert f"{images} does not exist" in run.start().refusal  # still away
        away.rename(images)
        run.must_end_as_if_nothing_had_happened()


@slow
@pytest.mark.parametrize("opts", [[], WORKERS])
def test_an_image_damaged_in_mid_epoch(runs, lent_data, ledger, opts):
    """The file is named, and once it is restored the run goes on."""
    files = {path: path.read_bytes() for path in lent_data.rglob("train_*.png")}
    run = runs.new("MoCoOp", "DATASET.ROOT", lent_data, *BY_STEPS, *opts)

    def damage() -> None:
        for path in files:
            path.write_bytes(b"not a picture")

    with ledger.fault("images damaged"):
        refusal = run.start(at_step(5, damage)).refusal
        assert 'cannot read image "' in refusal and "restore it or remove it from the split" in refusal
        assert sum(str(path) in refusal for path in files) == 1
        for path, content in files.items():
            path.write_bytes(content)
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("opts", PLAIN_AND_WORKERS)
def test_the_data_root_vanishes(runs, lent_data, ledger, opts):
    away = lent_data.with_name("unmounted")
    run = runs.new("CoOp", "DATASET.ROOT", lent_data, *BY_STEPS, *opts)
    with ledger.fault("data root vanished"):
        assert f'no image file "{lent_data}/' in run.start(at_step(8, lambda: lent_data.rename(away))).refusal
        lent_data.write_text("a mount point that is none")
        assert str(lent_data) in run.start().refusal
        lent_data.unlink()
        away.rename(lent_data)
        run.must_end_as_if_nothing_had_happened()


def kill_a_worker(once: Path, item: int):
    """The first worker that is asked for its n-th item dies of SIGKILL, as of the out-of-memory killer's."""

    def install() -> None:
        get, main, counts = SeededDataset.__getitem__, os.getpid(), []

        def watched(self, index):
            counts.append(index)
            if os.getpid() != main and len(counts) == item and not once.exists():
                once.touch()
                kill()
            return get(self, index)

        SeededDataset.__getitem__ = watched

    return install


@pytest.mark.parametrize("item", [3, *(pytest.param(n, marks=slow) for n in (1, 5, 6))])
def test_a_loader_worker_is_killed(runs, tmp_path, ledger, item):
    run = runs.new("CoOp", *BY_STEPS, *WORKERS)
    with ledger.fault("loader worker killed"):
        refusal = run.start(kill_a_worker(tmp_path / "killed", item)).refusal
        assert "a data loader worker was killed (Killed)" in refusal or "worker ended unexpectedly" in refusal
        assert "lower DATALOADER.NUM_WORKERS, then run the same command again" in refusal
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("step", [7, *(pytest.param(n, marks=slow) for n in (2, 4, 11))])
def test_a_run_and_its_workers_are_killed(runs, ledger, step):
    run = runs.new("CoOp", *BY_STEPS, *WORKERS)
    with ledger.fault("kill of a run and its workers"):
        ending = run.start(at_step(step, lambda: os.killpg(0, signal.SIGKILL)))
        assert ending.status == -signal.SIGKILL, ending.err
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("step", [6, pytest.param(9, marks=slow)])
def test_workers_that_outlive_a_killed_run_do_not_keep_its_folder(runs, ledger, step):
    """They notice after seconds that they are alone, and the next process need not wait for that."""
    run = runs.new("CoOp", *BY_STEPS, *WORKERS)
    with ledger.fault("kill in training"):
        assert run.start(at_step(step, kill)).status == -signal.SIGKILL
        run.must_end_as_if_nothing_had_happened()


@slow
def test_workers_do_not_outlive_a_killed_run_for_long(runs, ledger):
    run = runs.new("CoOp", *BY_STEPS, *WORKERS)
    pids = run.out.with_suffix(".pids")

    def note_workers_and_die() -> None:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        pids.write_text(children.read_text())
        kill()

    with ledger.fault("kill in training"):
        assert run.start(at_step(6, note_workers_and_die)).status == -signal.SIGKILL
        left = [int(pid) for pid in pids.read_text().split()]
        assert left
        deadline = time.monotonic() + 60
        while any(is_ours(pid, run.out) for pid in left) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(is_ours(pid, run.out) for pid in left)


def is_ours(pid: int, out: Path) -> bool:
    """Whether the process still prints into the run's folder."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1").startswith(str(out))
    except OSError:
        return False
