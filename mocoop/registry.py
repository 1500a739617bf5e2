"""The one registry of methods. A method's file registers it; trainers, configs, protocols, docs and tests read it.

    @register_method("MyCoOp", node="MYCOOP", keys=KEYS, published="2026-01", title="My context optimisation")
    class MyCoOp(PromptMethod): ...

Methods from outside the package are registered by the same decorator, in a file that is loaded with `load_plugin`, or
in a module that an installed package names as an entry point of the group `mocoop.methods`.

Importing the methods brings torch along, which takes seconds. Plans, tables and command lines need only what stands in
the decorators: `listed` reads it off the files, so that a registration's facts have to be plain values.
"""

import ast
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from yacs.config import CfgNode

from mocoop.errors import ConfigError, DataError, MocoopError, quoted, reason_of
from mocoop.files import read_text

if TYPE_CHECKING:
    from mocoop.methods.base import PromptMethod
    from mocoop.methods.keys import Key

ENTRY_POINTS = "mocoop.methods"  # the group in which installed packages name modules with methods
DECORATOR = "register_method"


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method without building it; its name is also that of its trainer, TRAINER.NAME.

    Attributes:
        published: year and month of its paper, "2021-09".
        title: what it is, in a few words.
        node: name of its node under TRAINER; None for a method without keys.
        learns: whether it is trained.
        new_classes: whether it can classify others than the trained ones.
        expert: whether it may be an expert of Mixture: it starts from words (the key CTX_INIT), and scores and learns
            by nothing but the features of its towers.
        dept_base: whether DePT may stand beside it: it has one prompt and learns by steps alone.
        export: what `mocoop export` writes of it: "product", class features that images are compared with, weighed by
            a router if it has one; "features", its `scoring_tensors`; "conditional", as of CoCoOp; None: nothing.
        trained_classes: whether it uses `trained_classnames`, in which case it has the key HEAD_CLASSES.
        file: where it is declared, of an entry that was read.
        imported: its class, of an entry that was registered.
        keys: its keys, of an entry that was registered.
        more_problems: lists what is wrong with a config beyond what each key says, one line each.
    """

    name: str
    published: str = ""
    title: str = ""
    node: str | None = None
    learns: bool = True
    new_classes: bool = True
    expert: bool = False
    dept_base: bool = False
    export: str | None = "product"
    trained_classes: bool = False
    file: Path | None = None
    imported: "type[PromptMethod] | None" = None
    keys: "tuple[Key, ...]" = ()
    more_problems: Callable[[CfgNode], list[str]] = lambda cfg: []

    @property
    def build(self) -> "type[PromptMethod]":
        """Called as `build(cfg, classnames, clip_model, all_classnames)`; the class itself."""
        return cast("type[PromptMethod]", self.imported)

    @property
    def structural_keys(self) -> list[str]:
        """Names of the keys that give the learned tensors their meaning."""
        return [key.name for key in self.keys if key.structural]

    def add_keys(self, cfg: CfgNode) -> None:
        """Add TRAINER.<node>.* to a config; a key that it has keeps its value."""
        if self.node:
            node = cfg.TRAINER.setdefault(self.node, CfgNode())
            for key in self.keys:
                node.setdefault(key.name, key.default)

    def settings(self, cfg: CfgNode) -> CfgNode:
        """TRAINER.<node> of a config; an empty node for a method without keys."""
        return cfg.TRAINER[self.node] if self.node else CfgNode()

    def problems(self, cfg: CfgNode) -> list[str]:
        """What is wrong with the method's keys, one line each."""
        found = [key.problem(str(self.node), self.settings(cfg)[key.name]) for key in self.keys]
        return list(filter(None, found)) or self.more_problems(cfg)

    def fact_problem(self) -> str | None:
        """What is wrong with what is said of it, in one line, or None."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", self.name, re.ASCII):
            return f"a method is called {quoted(self.name)}, expected letters, digits and _ . + -: it names folders"
        for fact, (is_right, expected) in _EXPECTED.items():
            if not is_right(value := getattr(self, fact)):
                return f"{fact} of the method {self.name} is {quoted(value)}, expected {expected}"
        return None

    def with_same_node(self, others: "Iterable[MethodEntry]") -> "MethodEntry | None":
        """The first of other methods that has the same node."""
        return next((o for o in others if self.node and o.node == self.node and o.name != self.name), None)


_FACT = (lambda value: isinstance(value, bool), "True or False")
_EXPORTS = ("product", "features", "conditional", None)
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
    "export": (lambda value: value in _EXPORTS, f"one of {', '.join(map(repr, _EXPORTS))}"),
    "trained_classes": _FACT,
}
DECLARED = tuple(_EXPECTED)

_ENTRIES: dict[str, MethodEntry] = {}


def register_method(
    name: str,
    *,
    published: str,
    title: str,
    node: str | None = None,
    keys: "Sequence[Key]" = (),
    problems: Callable[[CfgNode], list[str]] = lambda cfg: [],
    **about: Any,
) -> "Callable[[type[PromptMethod]], type[PromptMethod]]":
    """A class decorator that registers a method.

    about: the other facts of a `MethodEntry`.

    Raises ConfigError for what there is not to say, for a name or a node that another class has taken, for keys without
    a node or with one name, and for a class that is not what is said of it.
    """

    def register(method: "type[PromptMethod]") -> "type[PromptMethod]":
        from mocoop.methods.base import PromptMethod
        from mocoop.methods.contract import class_problem, origin
        from mocoop.methods.keys import keys_of
        from mocoop.methods.parts import OnePrompt

        if unknown := ", ".join(sorted(about.keys() - set(DECLARED))):
            raise ConfigError(f"{name} is registered with {unknown}, expected {', '.join(DECLARED)}")
        own: dict[str, Any] = {"keys": keys_of(name, node, keys, about), "imported": method, "more_problems": problems}
        entry = MethodEntry(name, published, title, node, **about, **own)
        if problem := entry.fact_problem() or class_problem(entry, PromptMethod, OnePrompt):
            raise ConfigError(problem)
        if other := entry.with_same_node(_ENTRIES.values()):
            raise ConfigError(f"{name} has the node {node}, which is that of {other.name}: take another")
        taken = _ENTRIES.get(name)
        if taken is not None and _names(taken.build) != _names(method):
            raise ConfigError(f"a method called {name} is registered already: {origin(taken.build)}")
        method.entry = _ENTRIES[name] = entry
        return method

    return register


def _names(method: Callable) -> tuple[str, str]:
    return method.__module__, method.__qualname__


def methods() -> dict[str, MethodEntry]:
    """All registered methods by name, in the order of their papers, then of their files, those of others last."""
    importlib.import_module("mocoop.methods")
    _load_entry_points()

    def place(entry: MethodEntry) -> tuple[str, str]:
        module = entry.build.__module__
        return entry.published, module if module.startswith("mocoop.methods.") else "~"

    return {entry.name: entry for entry in sorted(_ENTRIES.values(), key=place)}


def get_method(name: str) -> MethodEntry:
    """The method of a trainer's name. Raises ConfigError for an unknown one."""
    known = methods()
    if name not in known:
        expected = f"{', '.join(known)}, or that of a file which --plugin names"
        raise ConfigError(f"TRAINER.NAME is {name!r}, expected one of {expected}")
    return known[name]


@functools.cache
def _load_entry_points() -> None:
    """Once: looking through all installed packages takes longer than loading a model."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{_entry_point(point)}{_failure(error)}") from error


def _entry_point(point: metadata.EntryPoint) -> str:
    return f"the entry point {point.name} of {ENTRY_POINTS} ({point.value})"


def load_plugin(path: str | Path) -> list[str]:
    """Import a Python file, which runs it, and return the names of the methods that it registers.

    It may import the files beside it, which come last on the path of imports.

    Raises ConfigError, naming the file, if it is missing, fails, registers nothing or what it must not, or if a file
    beside it that it imports is hidden by another module.
    """
    path = _plugin(path)
    module_name = f"mocoop_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        _import_plugin(path, module_name)
    names = [name for name, entry in _ENTRIES.items() if entry.build.__module__ == module_name]
    if not names:
        raise ConfigError(f"plugin {path} registers no method, expected @{DECORATOR} above a class")
    return names


def _plugin(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise ConfigError(f"there is no plugin {path}, expected a Python file that registers a method")
    return Path(path).resolve()


def _import_plugin(path: Path, module_name: str) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {path} cannot be imported, expected a file with the ending .py")
    module, before = importlib.util.module_from_spec(spec), dict(_ENTRIES)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        _check_siblings(path)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        _ENTRIES.clear()
        _ENTRIES.update(before)
        raise ConfigError(f"plugin {path}{_failure(error)}") from error


def _check_siblings(path: Path) -> None:
    """Raises ConfigError if a name that the plugin imports is that of a file beside it, and is another module."""
    tree = ast.parse(path.read_bytes())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    for name in {name.partition(".")[0] for name in names}:
        beside = [path.with_name(f"{name}.py"), path.parent / name / "__init__.py"]
        found = getattr(sys.modules.get(name), "__file__", None)
        if found and any(map(Path.is_file, beside)) and Path(found).resolve() not in beside:
            raise ConfigError(f"it imports {name}, which is {found} and not the file beside it: rename that")


def _failure(error: BaseException) -> str:
    """What went wrong in code of others; what this library says of it stands for itself."""
    if isinstance(error, MocoopError):
        return f": {error}"
    return f" fails: {type(error).__name__}: {reason_of(error)}"


@functools.cache
def listed(plugins: tuple[str, ...] = ()) -> dict[str, MethodEntry]:
    """What `methods` gives and plugins would add, read off the files: without classes and keys, and without torch.

    Raises ConfigError for a plugin that cannot be read, or declares none.
    """
    found = [entry for path in _own_files() for entry in _declared(path)]
    for path in plugins:
        declared = list(_declared(_plugin(path)))
        if not declared:
            raise ConfigError(f"plugin {path} registers no method, expected @{DECORATOR} above a class")
        found += declared
    entries: dict[str, MethodEntry] = {}
    for entry in sorted(found, key=lambda entry: entry.published):
        other = entries.setdefault(entry.name, entry)
        if other.file != entry.file:
            raise ConfigError(f"{other.file} and {entry.file} both declare a method called {entry.name}")
        if same := entry.with_same_node(entries.values()):
            raise ConfigError(f"{same.file} and {entry.file} both declare the node {entry.node}, expected one each")
    return entries


def _own_files() -> Iterator[Path]:
    yield from sorted(Path(__file__).with_name("methods").rglob("*.py"))
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            spec = importlib.util.find_spec(point.module)
        except ImportError as error:
            raise ConfigError(f"{_entry_point(point)} fails: {error}") from error
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin)


def _declared(path: Path) -> Iterator[MethodEntry]:
    """The methods that a file declares: what stands in the decorators above its classes."""
    try:
        tree = ast.parse(read_text(path))
    except (DataError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as Python: {error}") from error
    for node in tree.body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == DECORATOR:
                yield _entry(call, path)


def _entry(call: ast.Call, path: Path) -> MethodEntry:
    given = {keyword.arg: keyword.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)}
    facts: dict[str, Any] = {name: given[name].value for name in DECLARED if name in given}
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if not isinstance(name, str) or not isinstance(facts.get("published"), str):
        raise ConfigError(f"{path}: @{DECORATOR} has no plain name and published date, expected both as texts")
    entry = MethodEntry(name, **facts, file=path)
    if problem := entry.fact_problem():
        raise ConfigError(f"{path}: {problem}")
    return entry
