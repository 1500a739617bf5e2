"""A few real runs in two warm workers (benchmarks/soak.py does this with hundreds): what goes wrong in one of them
touches no other, and all results are those of processes of their own."""

from pathlib import Path

import pytest

from benchmarks import soak
from mocoop.protocols import execute
from tests.faults import victims
from tests.scripts.checkout import REPOSITORY

RUNS, CRASHES, HUNGRY = 6, 2, 3  # seeds of the two that fail


@pytest.mark.timeout(300)
def test_what_goes_wrong_in_a_run_touches_no_other(tmp_path, forked, monkeypatch, caplog):
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
    for run in (runs[CRASHES], *runs[HUNGRY + 1 :]):
        other = soak.elsewhere(run, tmp_path)
        assert victims.run(victims.training(*other.argv), Path(other.folder)).status == 0
        assert soak.differences(run, other) == []
