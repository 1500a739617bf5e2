"""Reading the annotation files of datasets: text with one entry a line, JSON, and MATLAB's .mat."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from mocoop.errors import DataError, quoted, reason_of
from mocoop.files import check_plain_file, read_text

T = TypeVar("T")


def parse_lines(path: str | os.PathLike, parse: Callable[[str], T], expected: str) -> list[T]:
    """`parse` of each line that is not blank, stripped.

    Raises DataError that names file, line and what was `expected`, for a line that `parse` cannot take apart.
    """
    parsed = []
    for number, line in enumerate(map(str.strip, read_text(path).split("\n")), start=1):
        try:
            if line:
                parsed.append(parse(line))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: got {quoted(line)}, expected {expected}") from error
    return parsed


def read_mat_row(path: str | os.PathLike, variable: str) -> Any:
    """The first row of a variable of a .mat file, a numpy array; DataError when it cannot be read."""
    from scipy.io import loadmat

    try:
        check_plain_file(path)
        return loadmat(path)[variable][0]
    except Exception as error:  # the reader may fail in any way on a damaged file
        raise DataError(
            f"{path}: got no readable .mat file with {variable!r} ({reason_of(error)}); get it again"
        ) from error
