"""Reading the csv files that a run leaves: what is wrong with one is reported in a line that names it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from mocoop.errors import DataError, reason_of


def read_table(path, columns: Sequence[str], next_step: str, **options) -> pd.DataFrame:
    """The csv at `path` with at least these columns; `options` are pandas'.

    Raises DataError if it is missing, saying the `next_step` to take, or damaged.
    """
    try:
        with damage_named(path):
            frame = pd.read_csv(path, **options)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {next_step}") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: got no column {', '.join(missing)}, expected {', '.join(columns)}")
    return frame


@contextmanager
def damage_named(path) -> Iterator[None]:
    """A value that cannot be what its column says becomes a DataError naming the file."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: damaged, {reason_of(error)}") from None
