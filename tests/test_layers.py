"""The library in layers: what stands in one imports only what stands in those before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "mocoop"
LAYERS = [
    {"errors", "console", "late_imports", "timings", "versions", "__version__"},
    {"files", "names", "pixels", "protocol"},
    {"images", "registry", "config", "distributed"},
    {"clip", "shapes"},
    {"tiny"},
    {"backbone", "engine"},
    {"data", "checkout"},
    {"methods", "results"},
    {"training"},
    {"runs", "train"},
    {"export", "report", "serve", "transduce"},
    {"protocols"},
    {"tools"},
    {"cli"},
]
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
LATE = {("cli", "training"), ("registry", "methods")}  # to explain an error; to judge a class that is registered


def imports() -> Iterator[tuple[str, str, str]]:
    """(unit, unit that it imports, file), of the modules and packages right below the library."""
    for path in LIBRARY.rglob("*.py"):
        unit = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _names(node):
                if name.startswith("mocoop."):
                    yield unit, name.split(".")[1], str(path.relative_to(LIBRARY))


def _names(node) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"mocoop.{alias.name}" for alias in node.names] if node.module == "mocoop" else [node.module]
    return []


def test_every_unit_has_its_layer():
    units = {path.name.removesuffix(".py") for path in LIBRARY.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert units - {"__init__", "__pycache__"} == set(HEIGHT) - {"__version__"}


def test_no_arrow_runs_upwards():
    upwards = {
        f"{file}: {unit} imports {other}"
        for unit, other, file in imports()
        if unit != other and unit != "__init__" and HEIGHT[other] >= HEIGHT[unit] and (unit, other) not in LATE
    }
    assert not upwards
