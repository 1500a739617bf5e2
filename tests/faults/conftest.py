"""Tiny runs for faults to be injected into; the number of faults is printed at the end.

python -m pytest tests/faults            the quick half, below a minute
python -m pytest tests/faults -m ""      all of it
"""

import pytest

from tests.faults.ledger import Ledger
from tests.faults.runs import Runs, write_few_shapes

LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config):
    config.stash[LEDGER] = Ledger()


def pytest_terminal_summary(terminalreporter, config):
    ledger = config.stash[LEDGER]
    if ledger.injected:
        terminalreporter.section("faults survived, of those injected")
        for line in ledger.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def ledger(request) -> Ledger:
    return request.config.stash[LEDGER]


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    data = tmp_path_factory.mktemp("few")
    write_few_shapes(data)
    return Runs(data, tmp_path_factory.mktemp("victims"))
