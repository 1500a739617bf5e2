"""Imports that wait until they are needed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Inside the block imports leave Python's random numbers alone, so that a run's do not depend on what its process
    has imported before: scikit-learn imports rich, where that is installed, and rich draws some."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
