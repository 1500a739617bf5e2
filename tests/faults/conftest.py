"""Tiny runs for faults to be injected into; the number of faults is printed at the end.

python -m pytest tests/faults            the quick half, below a minute
python -m pytest tests/faults -m ""      all of it
"""

import pytest

from tests.faults.ledger import Ledger

LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config):
    config.stash[LEDGER] = Ledger()


def pytest_terminal_summary(terminalreporter, config):
    ledger = config.stash[LEDGER]
    if ledger.injected or ledger.notes:
        terminalreporter.section("faults survived, of those injected")
        for line in [*ledger.lines(), *ledger.notes]:
            terminalreporter.write_line(line)


@pytest.fixture
def ledger(request) -> Ledger:
    return request.config.stash[LEDGER]
