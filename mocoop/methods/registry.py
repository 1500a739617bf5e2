"""The one registry of methods. A method's file registers it; trainers, configs, protocols, docs and tests read it.

    @register_method("MyCoOp", node="MYCOOP", keys=KEYS, published="2026-01", title="My context optimisation")
    class MyCoOp(PromptMethod): ...

Methods from outside the package are registered by the same decorator, in a file that is loaded with `load_plugin`, or
in a module that an installed package names as an entry point of the group `mocoop.methods`.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from yacs.config import CfgNode

from mocoop.catalog import ENTRY_POINTS, Listed, in_order
from mocoop.errors import ConfigError, reason_of
from mocoop.methods.keys import Key, key_problems


@dataclass(frozen=True, kw_only=True)
class MethodEntry(Listed):
    """What is known of a method without building it; its name is also that of its trainer, TRAINER.NAME.

    Attributes:
        build: called as `build(cfg, classnames, clip_model, all_classnames)`; the class itself.
        more_problems: lists what is wrong with a config beyond what each key says, one line each.
    """

    build: Callable
    keys: tuple[Key, ...]
    more_problems: Callable[[CfgNode], list[str]]

    def add_keys(self, cfg: CfgNode) -> None:
        """Add TRAINER.<node>.* to a config; keys that it has keep their values."""
        if self.node:
            node = cfg.TRAINER.setdefault(self.node, CfgNode())
            for key in self.keys:
                node.setdefault(key.name, key.default)

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
    **about,
):
    """A class decorator that registers a method.

    about: what else `mocoop.catalog.Listed` knows. Raises ValueError for a name that another class has taken, and for
    keys without a node.
    """
    if keys and node is None:
        raise ValueError(f'{name} has keys and no node, expected node="...", the name of theirs under TRAINER')

    def register(method: type) -> type:
        taken = _ENTRIES.get(name)
        if taken is not None and _origin(taken.build) != _origin(method):
            raise ValueError(f"a method called {name} is registered already, by {taken.build.__module__}")
        own = {"build": method, "node": node, "keys": tuple(keys), "more_problems": problems}
        method.entry = _ENTRIES[name] = MethodEntry(name, published, title, **about, **own)
        return method

    return register


def methods() -> dict[str, MethodEntry]:
    """All registered methods by name, in the order of their papers."""
    _load_entry_points()
    return {entry.name: entry for entry in in_order(_ENTRIES.values())}


def get_method(name: str) -> MethodEntry:
    """The method of a trainer's name. Raises ConfigError for an unknown one."""
    known = methods()
    if name not in known:
        expected = f"{', '.join(known)}, or that of a file which --plugin names"
        raise ConfigError(f"TRAINER.NAME is {name!r}, expected one of {expected}")
    return known[name]


def load_plugin(path: str | Path) -> list[str]:
    """Import a Python file, which runs it, and return the names of the methods that it registers.

    Raises ConfigError for a file that is missing, fails, or registers nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ConfigError(f"there is no plugin {path}, expected a Python file that registers a method")
    module_name = f"mocoop_plugin_{path.stem}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise ConfigError(f"plugin {path} fails: {type(error).__name__}: {reason_of(error)}") from error
    names = [name for name, entry in _ENTRIES.items() if entry.build.__module__ == module_name]
    if not names:
        raise ConfigError(f"plugin {path} registers no method, expected @register_method above a class")
    return names


@cache
def _load_entry_points() -> None:
    """Once: looking through all installed packages takes longer than loading a model."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            raise ConfigError(
                f"the entry point {point.name} of {ENTRY_POINTS} ({point.value}) fails: {reason_of(error)}"
            ) from error


def _origin(method: Callable) -> tuple[str, str]:
    return method.__module__, method.__qualname__
