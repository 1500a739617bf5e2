"""The methods as their files declare them, read without importing torch: for tables, plans and command lines.

What is read is the decorator `@register_method("Name", published=..., ...)` above a class; its arguments have to be
plain values.
"""

import ast
import functools
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mocoop.errors import ConfigError, DataError, quoted
from mocoop.files import read_text

ENTRY_POINTS = "mocoop.methods"  # the group in which installed packages name modules with methods
DECORATOR = "register_method"


@dataclass(frozen=True)
class Listed:
    """What a file says of a method.

    Attributes:
        published: year and month of its paper, "2021-09".
        title: what it is, in a few words.
        learns: whether it is trained.
        new_classes: whether it can classify others than the trained ones.
        file: where it is declared, if that has been read.
        node: name of its node under TRAINER; None for a method without keys.
        expert: whether it may be an expert of Mixture: it starts from words (the key CTX_INIT), and scores and learns
            by nothing but the features of its towers.
        dept_base: whether DePT may stand beside it: it has one prompt and learns by steps alone.
        export: what `mocoop export` writes of it: "product", class features that images are compared with, weighed by
            a router if it has one; "features", its `scoring_tensors`; "conditional", as of CoCoOp; None: nothing.
        trained_classes: whether it uses `trained_classnames`, in which case it has the key HEAD_CLASSES.
    """

    name: str
    published: str = ""
    title: str = ""
    learns: bool = True
    new_classes: bool = True
    file: Path | None = None
    node: str | None = None
    expert: bool = False
    dept_base: bool = False
    export: str | None = "product"
    trained_classes: bool = False

    def problem(self) -> str | None:
        """What is wrong with what is said, in one line, or None."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", self.name, re.ASCII):
            return f"a method is called {quoted(self.name)}, expected letters, digits and _ . + -: it names folders"
        for key, (is_right, expected) in _EXPECTED.items():
            if not is_right(value := getattr(self, key)):
                return f"{key} of the method {self.name} is {quoted(value)}, expected {expected}"
        return None

    def with_same_node(self, others: Iterable["Listed"]) -> "Listed | None":
        """The first of other methods that has the same node."""
        return next((o for o in others if self.node and o.node == self.node and o.name != self.name), None)


def _among(*choices: str | None) -> tuple[Callable[[object], bool], str]:
    return lambda value: value in choices, f"one of {', '.join(map(repr, choices))}"


_FACT = (lambda value: isinstance(value, bool), "True or False")
_EXPECTED: dict[str, tuple[Callable, str]] = {  # of all that a registration says: what is right, and this in words
    "node": (
        lambda value: value is None or isinstance(value, str) and value.isidentifier() and value != "NAME",
        "letters, digits and _, or None",
    ),
    "published": (
        lambda value: isinstance(value, str) and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value),
        'year and month of its paper, such as "2026-01"',
    ),
    "title": (lambda value: isinstance(value, str), "a text"),
    "learns": _FACT,
    "new_classes": _FACT,
    "expert": _FACT,
    "dept_base": _FACT,
    "export": _among("product", "features", "conditional", None),
    "trained_classes": _FACT,
}
DECLARED = tuple(_EXPECTED)


def in_order(methods: Iterable) -> list:
    """Methods in the order of their papers, as tables list them."""
    return sorted(methods, key=lambda method: method.published)


@functools.cache
def listed(plugins: tuple[str, ...] = ()) -> dict[str, Listed]:
    """All methods by name, in the order of their papers: the package's, those of installed packages, and plugins'.

    Raises ConfigError for a plugin that cannot be read, or declares none.
    """
    found = [method for path in _own_files() for method in _declared(path)]
    for path in plugins:
        declared = list(_declared(_plugin(path)))
        if not declared:
            raise ConfigError(f"plugin {path} registers no method, expected @{DECORATOR} above a class")
        found += declared
    methods: dict[str, Listed] = {}
    for method in in_order(found):
        other = methods.setdefault(method.name, method)
        if other.file != method.file:
            raise ConfigError(f"{other.file} and {method.file} both declare a method called {method.name}")
        if other := method.with_same_node(methods.values()):
            raise ConfigError(f"{other.file} and {method.file} both declare the node {method.node}, expected one each")
    return methods


def _own_files() -> Iterator[Path]:
    yield from sorted(Path(__file__).with_name("methods").rglob("*.py"))
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            spec = importlib.util.find_spec(point.module)
        except ImportError as error:
            raise ConfigError(
                f"the entry point {point.name} of {ENTRY_POINTS} ({point.value}) fails: {error}"
            ) from error
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin)


def _plugin(path: str) -> Path:
    if not Path(path).is_file():
        raise ConfigError(f"there is no plugin {path}, expected a Python file that registers a method")
    return Path(path).resolve()


def _declared(path: Path) -> Iterator[Listed]:
    try:
        tree = ast.parse(read_text(path))
    except (DataError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as Python: {error}") from error
    for node in tree.body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == DECORATOR:
                yield _listed(call, path)


def _listed(call: ast.Call, path: Path) -> Listed:
    given = {keyword.arg: keyword.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)}
    values: dict[str, Any] = {name: given[name].value for name in DECLARED if name in given}
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if not isinstance(name, str) or not isinstance(values.get("published"), str):
        raise ConfigError(f"{path}: @{DECORATOR} has no plain name and published date, expected both as texts")
    listed_method = Listed(name, **values, file=path)
    if problem := listed_method.problem():
        raise ConfigError(f"{path}: {problem}")
    return listed_method
