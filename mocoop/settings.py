"""Nested settings under dotted keys. Standard library only: scripts list their runs without an environment."""

from collections.abc import Iterator


def leaves(settings: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of every setting."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
