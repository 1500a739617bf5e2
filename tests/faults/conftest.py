"""Tiny runs for faults to be injected into; the number of faults is printed at the end.

python -m pytest tests/faults            the quick half, below a minute
python -m pytest tests/faults -m ""      all of it
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.counts import NOTES, count


class Ledger:
    """How many faults were injected, and how many survived: followed by the right result, or a clear refusal."""

    notes = NOTES

    @contextmanager
    def fault(self, kind: str, number: int = 1) -> Iterator[None]:
        """A fault, or several in a row; survived if the block ends without an exception."""
        count("faults", kind, injected=number, survived=0)
        yield
        count("faults", kind, survived=number)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()
