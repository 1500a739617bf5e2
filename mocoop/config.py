"""Merging yaml files and KEY VALUE overrides into a yacs config, with all that is wrong reported at once."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from yacs.config import CfgNode

from mocoop.errors import ConfigError


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a yaml file. Raises ConfigError naming the file and every key or value of it that cannot be used."""
    if not Path(path).is_file():
        raise ConfigError(f"no config file {path}{_neighbours(Path(path))}")
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid yaml: {' '.join(str(error).split())}") from error
    if loaded is None:
        return
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} holds a {type(loaded).__name__}, expected keys such as DATASET")
    _merge(cfg, _leaves(loaded, cfg), path)


def merge_overrides(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merge KEY VALUE pairs of a command line. Raises ConfigError naming every pair that cannot be used."""
    opts = [opt for opt in opts if opt != "--"]
    if len(opts) % 2:
        raise ConfigError(f"overrides are KEY VALUE pairs, got an odd number of words: {' '.join(opts)}")
    _merge(cfg, zip(opts[::2], opts[1::2]), "command line")


def _leaves(node: dict, cfg: CfgNode | None, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        known = cfg.get(key) if isinstance(cfg, CfgNode) else None
        if isinstance(value, dict) and (known is None or isinstance(known, CfgNode)) and value:
            yield from _leaves(value, known, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(cfg: CfgNode, pairs, source: str) -> None:
    problems = []
    for key, value in pairs:
        if not _exists(cfg, key):
            problems.append(f"unknown key {key}{_similar(cfg, key)}")
            continue
        try:
            cfg.merge_from_list([key, value])
        except (AssertionError, ValueError, TypeError) as error:
            problems.append(f"{key} cannot be {value!r}: {' '.join(str(error).split())}")
    if problems:
        raise ConfigError(f"{source}: {'; '.join(problems)}")


def _exists(cfg: CfgNode, key: str) -> bool:
    node = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return False
        node = node[part]
    return not isinstance(node, CfgNode)


def _all_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _similar(cfg: CfgNode, key: str) -> str:
    close = difflib.get_close_matches(key, list(_all_keys(cfg)), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=3)
    return f", did you mean {' or '.join(close)}?" if close else ""
