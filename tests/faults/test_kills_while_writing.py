"""kill -9 before, between and in the middle of the writes of a run: states, pointers, history, predictions, record."""

import signal

import pytest

from tests.faults.moments import Moments, file_operations, kill, read_journal
from tests.faults.runs import BY_STEPS

PARTS = 5


@pytest.fixture(scope="module")
def moments(runs, tmp_path_factory):
    """The file operations of a run by method, in order."""
    found = {}

    def of(method: str) -> list[tuple[str, str]]:
        if method not in found:
            runs.reference(method)  # the few-shot subset is stored by now
            journal = tmp_path_factory.mktemp("journals") / method
            assert runs.new(method, *BY_STEPS).start(file_operations(Moments(journal=journal))).status == 0
            found[method] = read_journal(journal)
        return found[method]

    return of


def killed_at(runs, ledger, method: str, moment: int) -> None:
    run = runs.new(method, *BY_STEPS)
    with ledger.fault("kill while a run writes"):
        ending = run.start(file_operations(Moments(kill, at=moment)))
        assert ending.status == -signal.SIGKILL, ending.err
        run.must_end_as_if_nothing_had_happened()


def test_a_run_writes_what_these_tests_are_about(moments):
    kinds = {(kind, name) for kind, name in moments("CoOp") if not name.endswith(".tmp")}
    assert {("half written", "history.csv"), ("before remove", "resume.pth.tar")} <= kinds
    for name in ("resume.pth.tar", "resume-previous.pth.tar", "checkpoint", "predictions.csv", "result.json"):
        assert ("before rename", name) in kinds
    halves = [name for kind, name in moments("CoOp") if kind == "half written" and name.startswith(".resume.pth.tar")]
    assert len(halves) == 6


@pytest.mark.parametrize("part", range(3))
def test_killed_at_some_file_operations(runs, ledger, moments, part):
    """Of all, below, in the slow half."""
    count = len(moments("CoOp"))
    killed_at(runs, ledger, "CoOp", 1 + (2 * part + 1) * count // 6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_file_operation(runs, ledger, moments, part):
    for moment in range(1 + part, len(moments("CoOp")) + 1, PARTS):
        killed_at(runs, ledger, "CoOp", moment)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["CoCoOp", "MoCoOp"])
def test_killed_at_every_seventh_file_operation(runs, ledger, moments, method):
    for moment in range(3, len(moments(method)) + 1, 7):
        killed_at(runs, ledger, method, moment)
