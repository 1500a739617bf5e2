"""A disk that is full, read-only or away: one clear line, the last good state kept, and the same result afterwards."""

import errno
import subprocess

import pytest

from tests.faults.moments import Moments, fail, file_operations
from tests.faults.runs import BY_STEPS, WORKERS
from tests.faults.victims import run as run_victim
from tests.faults.victims import tool

slow = pytest.mark.slow
LINES = {
    errno.ENOSPC: "could not be written; make room, then run the same command again",
    errno.EDQUOT: "could not be written; make room, then run the same command again",
    errno.EACCES: "Permission denied; fix that or choose another folder",
    errno.EROFS: "Read-only file system; fix that or choose another folder",
    errno.EIO: "once the disk is back, run the same command again",
}


def refused_and_then_right(run, ledger, kind: str, message: str, *faults) -> None:
    with ledger.fault(kind):
        assert message in run.start(*faults).refusal
        run.must_end_as_if_nothing_had_happened()


@pytest.mark.parametrize("moment", [2, 40, *(pytest.param(n, marks=slow) for n in range(3, 95, 6))])
def test_the_disk_is_full_from_some_file_operation_on(runs, ledger, moment):
    runs.reference("CoOp")
    faults = file_operations(Moments(fail(errno.ENOSPC), at=moment, forever=True))
    refused_and_then_right(runs.new("CoOp", *BY_STEPS), ledger, "full disk", LINES[errno.ENOSPC], faults)


@pytest.mark.parametrize("number", [pytest.param(n, marks=[] if n == errno.EACCES else slow) for n in LINES])
def test_a_disk_fails_for_a_while(runs, ledger, number):
    """The failure itself can be noted: the run's status says why it ended."""
    runs.reference("CoOp")
    run = runs.new("CoOp", *BY_STEPS)
    faults = file_operations(Moments(fail(number), at=40))
    refused_and_then_right(run, ledger, "failing disk", LINES[number], faults)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own: mount(size) mounts it, or gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here; the simulated disk is tested")

    yield folder, mount
    subprocess.run(["umount", str(folder)], capture_output=True)


@pytest.mark.parametrize(
    "kilobytes, opts", [(60, BY_STEPS), *(pytest.param(k, WORKERS, marks=slow) for k in (8, 16, 24, 40, 80))]
)
def test_a_disk_that_is_really_full(runs, ledger, disk, kilobytes, opts):
    """The log and TensorBoard's files are on it, too."""
    folder, mount = disk
    run = runs.new("CoOp", *opts)
    run.out = folder / "run"
    mount(f"size={kilobytes}k")
    with ledger.fault("full disk"):
        ending = run.start_printing_to(run.runs.folder / f"{kilobytes}-printed")
        assert "disk full: " in ending.refusal
        mount("remount,size=4m")
        run.must_end_as_if_nothing_had_happened()


def test_a_disk_that_is_read_only(runs, ledger, disk):
    folder, mount = disk
    run = runs.new("CoOp")
    run.out = folder / "run"
    mount("size=4m,ro")
    with ledger.fault("failing disk"):
        assert "Read-only file system" in run.start_printing_to(run.runs.folder / "ro-printed").refusal
        mount("remount,rw,size=4m")
        run.must_end_as_if_nothing_had_happened()


def test_a_file_where_the_folder_should_be(runs, ledger):
    run = runs.new("CoOp")
    printed, run.out = run.out, run.out / "file" / "run"
    printed.mkdir()
    (printed / "file").write_text("mine")
    with ledger.fault("unwritable folder"):
        assert "Not a directory" in run.start_printing_to(printed).refusal
        assert (printed / "file").read_text() == "mine"


@pytest.mark.parametrize("moment", [2, *(pytest.param(n, marks=slow) for n in (1, 3, 4))])
def test_a_tool_on_a_full_disk(runs, tmp_path, ledger, moment):
    to = tmp_path / "predictions.csv"
    command = ["predict", str(runs.data), "--model", str(runs.reference("CoOp")), "--out", str(to)]
    faults = file_operations(Moments(fail(errno.ENOSPC), at=moment, forever=True))
    with ledger.fault("full disk"):
        assert f"disk full: {to}" in run_victim(tool(*command), tmp_path, faults).refusal
        assert not to.exists()
        assert run_victim(tool(*command), tmp_path).status == 0
        assert to.stat().st_size
