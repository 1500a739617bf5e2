"""Reading the annotation files of datasets: text with one entry a line, JSON, and MATLAB's .mat."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mocoop.errors import DataError

T = TypeVar("T")


def parse_lines(path: str | os.PathLike, parse: Callable[[str], T], expected: str) -> list[T]:
    """`parse` of each line that is not blank, stripped.

    Raises DataError that names file, line and what was `expected`, for a line that `parse` cannot take apart.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable text file ({error})") from error
    parsed = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        try:
            if line:
                parsed.append(parse(line))
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(f"{path}, line {number}: got {line[:80]!r}, expected {expected}") from error
    return parsed


def read_json_file(path: str | os.PathLike):
    """The content of a JSON file; DataError when it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}); get it again") from error


def read_mat_row(path: str | os.PathLike, variable: str):
    """The first row of a variable of a .mat file, a numpy array; DataError when it cannot be read."""
    from scipy.io import loadmat

    try:
        return loadmat(path)[variable][0]
    except Exception as error:  # the reader may fail in any way on a damaged file
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: got no readable .mat file with {variable!r} ({reason}); get it again") from error
