"""A few real runs in two warm workers (benchmarks/soak.py does this with hundreds): what goes wrong in one of them
touches no other, and all results are those of processes of their own."""

import os
import signal
import sys
from pathlib import Path

import pytest

from benchmarks import soak
from mocoop.protocols import execute, worker
from tests.faults import victims
from tests.scripts.checkout import REPOSITORY

RUNS, CRASHES, HUNGRY = 12, 4, 6  # seeds of the two that fail


class Forked:
    """What `subprocess.Popen` gives, of a fork of this process, which has imported torch already."""

    def __init__(self, descriptors: tuple[int, int]):
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            os.closerange(3, 1000)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
            try:
                worker.main()
            finally:
                os._exit(1)

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def wait(self):
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class ForkedWorker(execute.Worker):
    def start(self):
        if self.process is not None:
            return
        self.imported = False
        (jobs, to_worker), (from_worker, answers) = os.pipe(), os.pipe()
        self.process = Forked((jobs, answers))
        for descriptor in (jobs, answers):
            os.close(descriptor)
        self.stdin, self.stdout = os.fdopen(to_worker, "w", buffering=1), os.fdopen(from_worker)


@pytest.mark.timeout(300)
def test_what_goes_wrong_in_a_run_touches_no_other(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(execute, "Worker", ForkedWorker)
    monkeypatch.chdir(REPOSITORY)
    caplog.set_level("DEBUG", "mocoop.protocols.execute")
    runs, notes = soak.plan(RUNS, tmp_path), soak.Notes(every=RUNS)
    soak.write_inputs(tmp_path)
    execute.logger.addHandler(notes)
    try:
        outcome = execute.run_all(runs, REPOSITORY, (None, None))
    finally:
        execute.logger.removeHandler(notes)
    assert {run.seed: reason[:13] for run, reason in outcome.failed.items()} == {HUNGRY: "out of memory"}
    assert Path(runs[CRASHES].folder, "crashed").exists() and runs[CRASHES].finished(REPOSITORY)
    assert len(notes.held) == 3, "two workers, and one in the place of that which was killed"
    assert all(max(held) - held[0] < 150 for held in notes.held.values())
    for run in (runs[CRASHES], runs[HUNGRY + 1], *runs[-2:]):
        other = soak.elsewhere(run, tmp_path)
        assert victims.run(victims.training(*other.argv), Path(other.folder)).status == 0
        assert soak.differences(run, other) == []
