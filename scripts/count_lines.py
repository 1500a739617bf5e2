"""Counts the lines of Python in the repository, and of those files apart that only what was added since 0.1.0 needs.

python scripts/count_lines.py [ROOT]
"""

import sys
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

SKIPPED = {".venv", ".git", "build", "dist", "output", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
ADDED = {  # since 0.1.0, as files of their own
    "packed towers": "mocoop/clip/packed_* mocoop/clip/chosen_prompts.py",
    "one step as a CUDA graph": "mocoop/training/graph.py benchmarks/gpu.py benchmarks/launches.py "
    "tests/training/test_graph.py tests/methods/test_steps_read_no_values.py",
    "methods of 2024-26": "*/methods/*atprompt* */methods/*mmrl* */methods/*dekg* */methods/*taskres* "
    "*/methods/*prolip* */methods/*gda* */methods/*coprompt* */methods/*skip* */methods/*clap* */methods/*promptkd* "
    "*/methods/tac.py */methods/naive_recent.py */methods/class_rows.py",
    "on top of runs": "*transduc* */results/*calibration.py */runs/test_calibrated.py mocoop/runs/scores.py "
    "mocoop/results/planning.py mocoop/tools/calibrate.py tests/results/test_planning.py "
    "tests/results/test_averages.py tests/results/test_on_top.py",
    "contract of methods": "mocoop/methods/contract.py tests/methods/test_contract.py tests/methods/test_plugins.py "
    "tests/plugins.py tests/examples/test_plugin_runs.py",
    "console": "mocoop/console.py tests/test_console.py",
    "checkout and package": "mocoop/train.py mocoop/tools/train.py tests/test_checkout.py "
    "tests/test_package.py tests/trainers/test_coop_checkout.py tests/test_docs.py tests/examples/test_quickstart.py",
    "formats of own images": "mocoop/pixels.py mocoop/data/image_csv.py mocoop/data/layout.py "
    "tests/datasets/test_own_layouts.py tests/runs/test_same_pixels.py",
    "identity of CLIPs, Hugging Face": "*/clip/*identity.py */clip/*hugging_face.py */clip/*weights.py "
    "tests/runs/test_clip_of_a_run.py",
    "agreement of runs": "mocoop/results/agreement.py tests/results/test_agreement.py tests/training/test_run_state.py",
    "check of exports": "mocoop/export/check.py tests/export/test_check.py",
    "images decoded once": "mocoop/engine/lite/decoded.py tests/engine/test_decoded.py benchmarks/decoding.py",
    "rehearsal, soak, counting": "mocoop/timings.py tests/test_timings.py "
    "tests/test_rehearsal.py benchmarks/rehearsal* benchmarks/soak.py scripts/count_lines.py "
    "tests/benchmarks/* tests/protocols/test_soak.py tests/scripts/test_count_lines.py",
}


def main(root: Path) -> None:
    lines = {path.relative_to(root).as_posix(): _lines(path) for path in sorted(_python_files(root))}
    topics = {path: _topic(path) for path in lines}
    tests = {path for path in lines if path.startswith("tests/")}
    print(f"{'':32} {'lines':>7} {'added':>7} {'before':>7}")
    for name, paths in (("Python outside tests", lines.keys() - tests), ("tests", tests)):
        _row(name, paths, lines, topics)
    package = {path for path in lines if path.startswith("mocoop/")}
    added = sum(topics[path] is not None for path in package)
    print(f"{'files in mocoop/':32} {len(package):7,} {added:7,} {len(package) - added:7,}\n")
    for folder in sorted({_folder(path) for path in lines}):
        _row(folder, [path for path in lines if _folder(path) == folder], lines, topics)
    print(f"\n{'added since 0.1.0':32} {'library':>7} {'tests':>7}")
    counts = Counter({(topic, path in tests): 0 for path, topic in topics.items()})
    for path, topic in topics.items():
        counts[topic, path in tests] += lines[path]
    for topic in ADDED:
        print(f"{topic:32} {counts[topic, False]:7,} {counts[topic, True]:7,}")


def _python_files(root: Path) -> Iterable[Path]:
    return (path for path in root.rglob("*.py") if not SKIPPED.intersection(path.relative_to(root).parts))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _topic(path: str) -> str | None:
    return next((topic for topic, globs in ADDED.items() if any(fnmatch(path, glob) for glob in globs.split())), None)


def _folder(path: str) -> str:
    """The first two parts of a file's folder in the library and its tests, else the first."""
    *folders, _ = path.split("/")
    return "/".join(folders[: 2 if folders[:1] in (["mocoop"], ["tests"]) else 1]) or "."


def _row(name: str, paths: Iterable[str], lines: dict[str, int], topics: dict[str, str | None]) -> None:
    paths = list(paths)
    total, added = sum(lines[path] for path in paths), sum(lines[path] for path in paths if topics[path])
    print(f"{name:32} {total:7,} {added:7,} {total - added:7,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
