"""What tests count for the last lines of a test run, gathered from all the processes that run them."""

from collections import Counter
from collections.abc import Iterator

FIGURES: Counter[tuple[str, str, str]] = Counter()  # by heading, row and column
NOTES: list[str] = []


def count(heading: str, row: str, **columns: int) -> None:
    """Add to the figures of a row."""
    for column, figure in columns.items():
        FIGURES[heading, row, column] += figure


def to_plain() -> dict:
    """All of it, as a process of pytest-xdist sends it to the one that prints."""
    return {"figures": [[*place, figure] for place, figure in FIGURES.items()], "notes": NOTES}


def add_plain(plain: dict) -> None:
    """Add what another process counted."""
    for *place, figure in plain["figures"]:
        FIGURES[tuple(place)] += figure
    NOTES.extend(plain["notes"])


def lines() -> Iterator[str]:
    """A line for each row, one for the sum of several rows, and the notes."""
    for heading in dict.fromkeys(heading for heading, _, _ in FIGURES):
        rows, total = {}, Counter()
        for (_, row, column), figure in [item for item in FIGURES.items() if item[0][0] == heading]:
            rows.setdefault(row, Counter())[column] += figure
            total[column] += figure
        for row, figures in (rows | {"all": total} if len(rows) > 1 else rows).items():
            yield f"{heading}, {row}: " + ", ".join(f"{figure} {column}" for column, figure in figures.items())
    yield from NOTES
