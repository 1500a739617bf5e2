"""Counts the lines of Python in the repository by folder.

python scripts/count_lines.py [ROOT]
"""

import sys
from collections import Counter
from pathlib import Path

SKIPPED = {".venv", ".git", "build", "dist", "output", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def main(root: Path) -> None:
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    lines = {path: (root / path).read_bytes().count(b"\n") for path in paths if not SKIPPED.intersection(path.parts)}
    sums: Counter[str] = Counter()
    for path, count in lines.items():
        sums["tests" if path.parts[0] == "tests" else "Python outside tests"] += count
    print("".join(f"{name:32} {sums[name]:7,}\n" for name in ("Python outside tests", "tests")), end="")
    print(f"{'files in mocoop/':32} {sum(path.parts[0] == 'mocoop' for path in lines):7,}\n")
    folders: Counter[str] = Counter()
    for path, count in lines.items():
        folders[_folder(path)] += count
    for folder, count in sorted(folders.items()):
        print(f"{folder:32} {count:7,}")


def _folder(path: Path) -> str:
    """The first two parts of a file's folder in the library and its tests, else the first."""
    folders = path.parts[:-1]
    return "/".join(folders[: 2 if folders[:1] in (("mocoop",), ("tests",)) else 1]) or "."


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
