"""How many faults were injected, and how many survived: followed by the right result, or a clear refusal."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Ledger:
    """Counts by kind of fault, and other figures to be printed."""

    def __init__(self):
        self.injected, self.survived = Counter(), Counter()
        self.notes: list[str] = []

    @contextmanager
    def fault(self, kind: str, count: int = 1) -> Iterator[None]:
        """A fault, or several in a row; survived if the block ends without an exception."""
        self.injected[kind] += count
        yield
        self.survived[kind] += count

    def lines(self) -> list[str]:
        """The counts of each kind, and their sum."""
        rows = [(kind, self.survived[kind], count) for kind, count in self.injected.items()]
        if rows:
            rows.append(("all", self.survived.total(), self.injected.total()))
        return [f"{kind:<50} {survived:>5} of {count:>5}" for kind, survived, count in rows]
