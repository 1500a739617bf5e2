"""A plan on a real SLURM of one node, which scripts/test_cluster.sh starts: jobs cancelled, requeued, slurmd killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mocoop.protocols.status import read_queue
from tests.faults.runs import write_few_shapes
from tests.protocols.checkout import wait_for
from tests.scripts.checkout import REPOSITORY

FOLDER = os.environ.get("MOCOOP_TEST_CLUSTER")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not FOLDER, reason="needs SLURM: bash scripts/test_cluster.sh"),
]
SEEDS = ",".join(map(str, range(1, 13)))
RUNS = ("base2new", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", SEEDS, "--shots", "2")
PRINTING = ("TRAIN.PRINT_FREQ", "1", "DATALOADER.NUM_WORKERS", "0")
OVERRIDES = ("--", "DATALOADER.TRAIN_X.BATCH_SIZE", "4", "OPTIM.MAX_EPOCH", "40", *PRINTING)
ON_SLURM = ("--slurm", "debug", "--gpus-per-run", "0", "--time", "10")
EPOCH = re.compile(r"epoch \[(\d+)/40\]")


@pytest.fixture
def mocoop():
    """Starts the command line; what still runs at the end is killed."""
    started = []

    def start(*words) -> subprocess.Popen:
        command = [sys.executable, "-m", "mocoop.cli", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def call(*command) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_training(output: Path, but=()) -> str:
    """The job of a run that is in the midst of its training, when there is one that is not among `but`."""
    found = []

    def look():
        running = call("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()
        for name, job in read_queue(output).items():
            log = output / name / "log.txt"
            if job in running and job not in but and log.is_file():
                epochs = EPOCH.findall(log.read_text())
                found.extend([job] if epochs and 1 < int(epochs[-1]) < 20 else [])
        return found

    wait_for(look, 600)
    return found[0]


def results(output: Path) -> pd.DataFrame:
    table = pd.read_csv(output / "base2new/results.csv").sort_values(["phase", "method", "seed"], ignore_index=True)
    return table.drop(columns=["folder", "train_seconds", "test_seconds", "peak_memory_mb"])


def test_a_plan_on_slurm_ends_in_the_tables_of_this_machine_whatever_happens_to_its_jobs(mocoop, tmp_path):
    here, there, data = (tmp_path / name for name in ("here", "there", "data"))
    write_few_shapes(data)
    command = (*RUNS, "--data", data, "--output", there, *ON_SLURM, *OVERRIDES)
    reference = mocoop("run", *RUNS, "--data", data, "--output", here, "--jobs", 2, *OVERRIDES)
    first = mocoop("run", *command)
    cancelled = in_training(there)
    second = mocoop("run", *command)  # takes over what there is
    wait_for(lambda: "24 runs: 0 finished already, 0 submitted, 24 waited for" in second.stderr.readline(), 60)
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 130 and "the jobs go on" in err

    call("scancel", cancelled)
    requeued = in_training(there, {cancelled})
    call("scontrol", "requeue", requeued)
    warned = in_training(there, {cancelled, requeued})
    # As SLURM does before the time is over; scancel 22.05 signals an array's job and calls it an error.
    subprocess.run(["scancel", "--signal=USR2", warned], capture_output=True)
    os.kill(int(Path(FOLDER, "slurmd.pid").read_text()), signal.SIGKILL)
    time.sleep(5)
    call("slurmd")

    _, err = first.communicate(timeout=2000)
    name = {job: name for name, job in read_queue(there).items()}[cancelled]
    assert first.returncode == 1 and f"failed: {name}: Stopped: stopped by SIGTERM" in err
    assert f"not run: {name.replace('train_base', 'test_new')}" in err and err.count("failed: ") == 1
    assert "24 runs: 22 done, 1 interrupted, 1 failed" in call(sys.executable, "-m", "mocoop.cli", "status", there)
    for job, trace in {warned: "Requeued job", requeued: ""}.items():
        name = {job: name for name, job in read_queue(there).items()}[job]
        assert trace in (there / f"slurm/{job}_0_log.err").read_text() + (there / f"slurm/{job}_0_log.out").read_text()
        assert any("will resume training" in log.read_text() for log in (there / name).glob("log.txt*"))

    again = mocoop("run", *command)
    _, err = again.communicate(timeout=1000)
    assert again.returncode == 0 and "24 runs: 22 finished already, 2 submitted, 0 waited for" in err
    wait_for(lambda: not call("squeue", "--noheader"))
    assert not list(there.rglob("console.txt"))

    _, err = reference.communicate(timeout=2000)
    assert reference.returncode == 0, err
    assert (there / "base2new/tables.md").read_text() == (here / "base2new/tables.md").read_text()
    pd.testing.assert_frame_equal(results(there), results(here), check_exact=True)
