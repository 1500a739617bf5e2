"""Files that mean harm, made by code: one `Entry` for each, by the kind of file it pretends to be.

Nothing dangerous is kept in the repository. Whatever would run code would make the file `canary`; whatever would leave
its folder would touch `outside/`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CANARY, OUTSIDE = "canary", "outside"
ENTRIES: list["Entry"] = []


@dataclass(frozen=True)
class Entry:
    """A hostile file: `make(path)` writes it. A harmless one only looks bad and has to be read as plain data."""

    kind: str
    name: str
    make: Callable[[Path], object]
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def add(kind: str, name: str, content, harmless: bool = False) -> None:
    """Add an entry of a file's text or bytes, or of a function that makes it."""

    def write(path: Path) -> None:
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    ENTRIES.append(Entry(kind, name, content if callable(content) else write, harmless))


def entries() -> list[Entry]:
    """The whole corpus."""
    if not ENTRIES:
        from tests.hostile import configs, images, names, results, tables, weights

        for part in (tables, names, configs, images, weights, results):
            part.add_entries(add)
    return ENTRIES
