"""Counts what became of the hostile files, for the end of the test run; a folder for the fuzz tests."""

import os

import pytest

from tests.hostile.fuzz import summary


class Tally:
    """How many hostile files were refused, how many harmless ones read, and how many ran what they hold."""

    def __init__(self):
        self.total = self.refused = self.read = self.executed = 0

    def count(self, entry, refused: bool, executed: bool) -> None:
        self.total += 1
        self.refused += refused and not entry.harmless
        self.read += not refused and entry.harmless
        self.executed += executed

    def line(self) -> str:
        outcome = f"{self.refused} refused, {self.read} read as plain data, {self.executed} executed"
        return f"{self.total} hostile files: {outcome}"


TALLY = Tally()


@pytest.fixture
def hostile_tally():
    return TALLY


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Files need not survive a power cut here, and hundreds are written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def pytest_terminal_summary(terminalreporter):
    if TALLY.total:
        terminalreporter.write_line(TALLY.line())
    for line in summary():
        terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the files of a module's fuzz tests, which hypothesis cannot have one each of."""
    return tmp_path_factory.mktemp("fuzz")
