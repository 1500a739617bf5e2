"""Counts the lines of Python in the repository, and how many of them are newer than a commit, by git's own account.

python scripts/count_lines.py [--since COMMIT] [--commits N]
"""

import argparse
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST = "3e79f99"  # version 0.1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--since", metavar="COMMIT", default=FIRST, help=f"default: {FIRST}, version 0.1.0")
    parser.add_argument("--commits", metavar="N", type=int, default=20, help="how many are listed, of most lines first")
    args = parser.parse_args()
    origins = {path: _origins(path, args.since) for path in _git("ls-files", "*.py")}
    tests = {path for path in origins if path.startswith("tests/")}
    print(f"{'':32} {'lines':>7} {'newer':>7} {'older':>7}")
    _row("Python outside tests", [origins[path] for path in origins.keys() - tests])
    _row("tests", [origins[path] for path in tests])
    print(f"{'files in mocoop/':32} {sum(path.startswith('mocoop/') for path in origins):7,}\n")
    for folder in sorted({_folder(path) for path in origins}):
        _row(folder, [origin for path, origin in origins.items() if _folder(path) == folder])
    newer = Counter(commit for path in origins.keys() - tests for commit in origins[path] if commit[0] != "^")
    print(f"\nOutside tests, of commits since {args.since}:")
    for commit, count in newer.most_common(args.commits):
        print(f"{count:7,}  {_subject(commit)}")


def _git(*words: str) -> list[str]:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def _origins(path: str, since: str) -> list[str]:
    """The commit that each line of a file comes from, wherever it stood before; "^..." for what is not newer."""
    return [line.split(maxsplit=1)[0] for line in _git("blame", "-s", "-w", "-M", "-C", f"{since}..", "--", path)]


def _subject(commit: str) -> str:
    return _git("log", "-1", "--format=%h %s", commit)[0]


def _folder(path: str) -> str:
    """The first two parts of a file's folder in the library and its tests, else the first."""
    *folders, _ = path.split("/")
    return "/".join(folders[: 2 if folders[:1] in (["mocoop"], ["tests"]) else 1]) or "."


def _row(name: str, origins: Iterable[list[str]]) -> None:
    older = Counter(commit[0] == "^" for lines in origins for commit in lines)
    print(f"{name:32} {older.total():7,} {older[False]:7,} {older[True]:7,}")


if __name__ == "__main__":
    main()
