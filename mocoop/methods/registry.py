"""The one registry of methods. A method's file registers it; trainers, configs, protocols, docs and tests read it.

    @register_method("MyCoOp", node="MYCOOP", keys=KEYS, published="2026-01", title="My context optimisation")
    class MyCoOp(PromptMethod): ...

Methods from outside the package are registered by the same decorator, in a file that is loaded with `load_plugin`, or
in a module that an installed package names as an entry point of the group `mocoop.methods`.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from mocoop.catalog import DECLARED, ENTRY_POINTS, Listed, in_order
from mocoop.errors import ConfigError, MocoopError, quoted, reason_of
from mocoop.methods.base import PromptMethod
from mocoop.methods.contract import class_problem, origin
from mocoop.methods.keys import HEAD_CLASSES, Key, add_keys, key_problems
from mocoop.methods.parts import OnePrompt


@dataclass(frozen=True, kw_only=True)
class MethodEntry(Listed):
    """What is known of a method without building it; its name is also that of its trainer, TRAINER.NAME.

    Attributes:
        build: called as `build(cfg, classnames, clip_model, all_classnames)`; the class itself.
        more_problems: lists what is wrong with a config beyond what each key says, one line each.
    """

    build: type[PromptMethod]
    keys: tuple[Key, ...]
    more_problems: Callable[[CfgNode], list[str]]

    def add_keys(self, cfg: CfgNode) -> None:
        """Add TRAINER.<node>.* to a config; a key that it has keeps its value."""
        if self.node:
            add_keys(cfg, self.node, self.keys)

    def settings(self, cfg: CfgNode) -> CfgNode:
        """TRAINER.<node> of a config; an empty node for a method without keys."""
        return cfg.TRAINER[self.node] if self.node else CfgNode()

    def problems(self, cfg: CfgNode) -> list[str]:
        """What is wrong with the method's keys, one line each."""
        found = key_problems(cfg, self.node, self.keys) if self.node else []
        return found or self.more_problems(cfg)

    @property
    def structural_keys(self) -> list[str]:
        """Names of the keys that give the learned tensors their meaning."""
        return [key.name for key in self.keys if key.structural]


_ENTRIES: dict[str, MethodEntry] = {}


def register_method(
    name: str,
    *,
    published: str,
    title: str,
    node: str | None = None,
    keys: Sequence[Key] = (),
    problems: Callable[[CfgNode], list[str]] = lambda cfg: [],
    **about: Any,
) -> Callable[[type[PromptMethod]], type[PromptMethod]]:
    """A class decorator that registers a method.

    about: what else `mocoop.catalog.Listed` knows.

    Raises ConfigError for what there is not to say, for a name or a node that another class has taken, for keys without
    a node or with one name, and for a class that is not what is said of it.
    """

    def register(method: type[PromptMethod]) -> type[PromptMethod]:
        if unknown := ", ".join(sorted(about.keys() - set(DECLARED))):
            raise ConfigError(f"{name} is registered with {unknown}, expected {', '.join(DECLARED)}")
        own = {"node": node, "keys": _keys(name, node, keys, about), **about}
        entry = MethodEntry(name, published, title, build=method, more_problems=problems, **own)
        if problem := entry.problem() or class_problem(entry, PromptMethod, OnePrompt):
            raise ConfigError(problem)
        if other := entry.with_same_node(_ENTRIES.values()):
            raise ConfigError(f"{name} has the node {node}, which is that of {other.name}: take another")
        taken = _ENTRIES.get(name)
        if taken is not None and _origin(taken.build) != _origin(method):
            raise ConfigError(f"a method called {name} is registered already: {origin(taken.build)}")
        method.entry = _ENTRIES[name] = entry
        return method

    return register


def _keys(name: str, node: str | None, keys: Sequence[Key], about: dict) -> tuple[Key, ...]:
    keys = (*keys, *([HEAD_CLASSES] if about.get("trained_classes") is True else []))
    if wrong := next((key for key in keys if not isinstance(key, Key)), None):
        raise ConfigError(f"{name} has {quoted(wrong)} among its keys, expected each to be a Key")
    if keys and node is None:
        raise ConfigError(f'{name} has keys and no node, expected node="...", the name of theirs under TRAINER')
    if doubled := next((key.name for i, key in enumerate(keys) if key.name in [k.name for k in keys[:i]]), None):
        raise ConfigError(f"{name} has two keys called {doubled}, expected one")
    return keys


def methods() -> dict[str, MethodEntry]:
    """All registered methods by name, in the order of their papers, then of their files, those of others last."""
    _load_entry_points()
    return {entry.name: entry for entry in in_order(sorted(_ENTRIES.values(), key=_by_file))}


def get_method(name: str) -> MethodEntry:
    """The method of a trainer's name. Raises ConfigError for an unknown one."""
    known = methods()
    if name not in known:
        expected = f"{', '.join(known)}, or that of a file which --plugin names"
        raise ConfigError(f"TRAINER.NAME is {name!r}, expected one of {expected}")
    return known[name]


def load_plugin(path: str | Path) -> list[str]:
    """Import a Python file, which runs it, and return the names of the methods that it registers.

    It may import the files beside it, which come last on the path of imports.

    Raises ConfigError, naming the file, if it is missing, fails, registers nothing or what it must not, or if a file
    beside it that it imports is hidden by another module.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ConfigError(f"there is no plugin {path}, expected a Python file that registers a method")
    module_name = f"mocoop_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        _import_plugin(path, module_name)
    names = [name for name, entry in _ENTRIES.items() if entry.build.__module__ == module_name]
    if not names:
        raise ConfigError(f"plugin {path} registers no method, expected @register_method above a class")
    return names


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


@cache
def _load_entry_points() -> None:
    """Once: looking through all installed packages takes longer than loading a model."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except (Exception, SystemExit) as error:
            place = f"the entry point {point.name} of {ENTRY_POINTS} ({point.value})"
            raise ConfigError(f"{place}{_failure(error)}") from error


def _by_file(entry: MethodEntry) -> str:
    module = entry.build.__module__
    return module if module.startswith("mocoop.methods.") else "~"


def _origin(method: Callable) -> tuple[str, str]:
    return method.__module__, method.__qualname__
