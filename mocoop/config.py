"""Merging yaml files and KEY VALUE overrides into a yacs config, and bounds of its keys: all that is wrong at once."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mocoop.errors import ConfigError, DataError, one_line, quoted, reason_of
from mocoop.files import read_text
from mocoop.names import odd_character
from mocoop.protocol import SUBSETS

BASE = "_BASE_"  # in a yaml file, the path from it to another one, which is merged first
AUTO = "auto"  # for a list that is found when it is needed
LARGEST = 1 << 20  # bytes of a config file
MOST_PROBLEMS = 8  # that one message names
_NONE: Any = object()
_ACCEPTED = {float: (float, int), tuple: (list, tuple), list: (list, tuple)}  # kinds of values by that of the default


class _Loader(yaml.SafeLoader):
    """Reads plain values only. A few aliases of aliases can stand for more than memory holds: there are none here."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"*{event.anchor} is an alias, write it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value} is there twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Limits:
    """What a key may be: one of `choices`, or a number, or several, within bounds."""

    at_least: float | None = None
    at_most: float | None = None
    choices: tuple = ()

    def problem(self, key: str, value: object) -> str | None:
        """What is wrong with a value, one line, or None."""
        if self.choices:
            expected = ", ".join(map(repr, self.choices))
            return None if value in self.choices else f"{key} is {value!r}, expected one of {expected}"
        if self.at_least is None and self.at_most is None:
            return None
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(number, (int, float)):
                return f"{key} is {value!r}, expected numbers"
            if self.at_least is not None and number < self.at_least:
                return f"{key} is {value}, expected {self.at_least} or more"
            if self.at_most is not None and number > self.at_most:
                return f"{key} is {value}, expected {self.at_most} or less"
        return None


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a yaml file, and first the one that its `_BASE_` names.

    Raises ConfigError naming the file and every key or value of it that cannot be used.
    """
    for file, settings in _with_bases(path):
        _merge(cfg, _leaves(settings, cfg), file)


def read_settings(path: str | Path) -> dict:
    """The settings of a yaml file over those of its bases, as nested dictionaries. Raises ConfigError."""
    merged: dict = {}
    for _, settings in _with_bases(str(path)):
        _update(merged, settings)
    return merged


def _update(settings: dict, others: dict) -> None:
    for key, value in others.items():
        known = settings.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _update(known, value)
        else:
            settings[key] = value


def _with_bases(path: str) -> list[tuple[str, dict]]:
    """(file, its own settings) of a yaml file, after those that it is based on."""
    files: list[tuple[str, dict]] = []
    seen: dict[Path, str] = {}
    while path:
        if (known := Path(path).resolve()) in seen:
            raise ConfigError(f"{BASE} goes in a circle: {' -> '.join([*seen.values(), path])}")
        seen[known] = path
        if files and not Path(path).is_file():
            raise ConfigError(f"{files[0][0]}: no file {path}, which {BASE} names{_neighbours(Path(path))}")
        settings = _load(path)
        base = settings.pop(BASE, "")
        if not isinstance(base, str) or Path(base).is_absolute() or odd_character(base):
            raise ConfigError(f"{path}: {BASE} is {quoted(base)}, expected the path from it to another yaml file")
        files.insert(0, (path, settings))
        path = os.path.normpath(Path(path).parent / base) if base else ""
    return files


def _load(path: str) -> dict:
    if not Path(path).is_file():
        raise ConfigError(f"no config file {path}{_neighbours(Path(path))}")
    try:
        loaded = yaml.load(read_text(path, "config file", largest=LARGEST), _Loader)
    except DataError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:  # what a tag makes of its text can fail in any way
        raise ConfigError(f"{path} is not valid yaml: {reason_of(error, 300)}") from error
    if not isinstance(loaded, (dict, type(None))):
        raise ConfigError(f"{path} holds a {type(loaded).__name__}, expected keys such as DATASET")
    return loaded or {}


def merge_overrides(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merge KEY VALUE pairs of a command line. Raises ConfigError naming every pair that cannot be used."""
    opts = [opt for opt in opts if opt != "--"]
    if len(opts) % 2:
        raise ConfigError(f"overrides are KEY VALUE pairs, got an odd number of words: {one_line(' '.join(opts), 300)}")
    _merge(cfg, zip(opts[::2], opts[1::2]), "command line")


def fill(cfg: CfgNode, plain: dict, source: str, prefix: str = "") -> None:
    """Set keys to the plain values that a run kept of its config; keys that this version does not know are left out.

    Raises ConfigError, naming `source`, for a value of another kind than the key's.
    """
    for key, value in plain.items():
        if key not in cfg:
            continue
        known = cfg[key]
        if isinstance(known, CfgNode) and isinstance(value, dict):
            fill(known, value, source, f"{prefix}{key}.")
            continue
        try:
            if type(value) not in _ACCEPTED.get(type(known), (type(known),)):
                raise ValueError(f"expected a {type(known).__name__}")
            _check_value(value)
        except ValueError as error:
            raise ConfigError(f"{source}: {prefix}{key} cannot be {quoted(value)}: {error}") from error
        cfg[key] = tuple(value) if isinstance(known, tuple) else value


def leaves(settings: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of every setting."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _leaves(node: dict, cfg: CfgNode | None, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        known = cfg.get(key) if isinstance(cfg, CfgNode) else None
        if isinstance(value, dict) and (known is None or isinstance(known, CfgNode)) and value:
            yield from _leaves(value, known, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(cfg: CfgNode, pairs: Iterable[tuple[str, object]], source: str) -> None:
    problems = []
    for key, value in pairs:
        if (known := _value(cfg, key)) is _NONE:
            problems.append(f"unknown key {one_line(key, 80)}{_similar(cfg, key)}")
            continue
        try:
            cfg.merge_from_list([key, _as_known(known, value)])
            _check_value(_value(cfg, key))
        except Exception as error:  # yacs evaluates a text as a Python literal, and the parser has its limits
            problems.append(f"{key} cannot be {quoted(value)}: {reason_of(error)}")
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"and {len(problems) - MOST_PROBLEMS} more"]
    if problems:
        raise ConfigError(f"{source}: {'; '.join(problems)}")


def _as_known(known: object, value: object) -> object:
    """What yacs would refuse, though it can be meant: 20 for 20.0, and `auto` for a list that is to be found."""
    if value == AUTO and isinstance(known, (list, tuple)):
        return [value]
    is_whole = not isinstance(value, bool) and re.fullmatch(r"[+-]?\d+", str(value))
    return float(str(value)) if isinstance(known, float) and is_whole else value


def _check_value(value: object) -> None:
    """Raise ValueError for what yacs takes for every key, and no key can be."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_value(item)
    elif value is None:
        raise ValueError("it is empty")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it is not a finite number")
    elif isinstance(value, str) and odd_character(value):
        raise ValueError(f"it holds {odd_character(value)}")


def _value(cfg: CfgNode, key: str) -> Any:
    """The value of a dotted key; _NONE where there is none, but a node or nothing."""
    found: Any = cfg
    for part in key.split("."):
        found = found.get(part, _NONE) if isinstance(found, CfgNode) else _NONE
    return _NONE if isinstance(found, CfgNode) else found


def _similar(cfg: CfgNode, key: str) -> str:
    close = difflib.get_close_matches(key[:200], dict(leaves(cfg)), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=3)
    return f", did you mean {' or '.join(close)}?" if close else ""


# --- bounds of the keys that the engine and every trainer read, checked before anything is built ------------------

MOST_WORKERS = 1024
MOST_MEGABYTES = 1 << 20
MOST_EPOCHS = 1_000_000
MOST_ITERATIONS = 100_000_000
SEEDS = 2**32  # of NumPy's generator


LIMITS = {
    "INPUT.SIZE": Limits(1, 8192),
    "INPUT.PIXEL_STD": Limits(1e-8),
    "INPUT.CROP_PADDING": Limits(0, 8192),
    "INPUT.RRCROP_SCALE": Limits(1e-4, 1),
    "INPUT.RANDAUGMENT_N": Limits(0, 100),
    "DATASET.NUM_SHOTS": Limits(-1),
    "DATASET.SUBSAMPLE_CLASSES": Limits(choices=SUBSETS),
    "DATALOADER.NUM_WORKERS": Limits(-1, MOST_WORKERS),
    "DATALOADER.DECODED_MB": Limits(0, MOST_MEGABYTES),
    "DATALOADER.K_TRANSFORMS": Limits(1, 1),
    "DATALOADER.TRAIN_X.BATCH_SIZE": Limits(1),
    "DATALOADER.TEST.BATCH_SIZE": Limits(1),
    "OPTIM.LR": Limits(0),
    "OPTIM.WEIGHT_DECAY": Limits(0),
    "OPTIM.MOMENTUM": Limits(0),
    "OPTIM.RMSPROP_ALPHA": Limits(0),
    "OPTIM.ADAM_BETA1": Limits(0, 0.9999999),
    "OPTIM.ADAM_BETA2": Limits(0, 0.9999999),
    "OPTIM.EPS": Limits(0),
    "OPTIM.GAMMA": Limits(0),
    "OPTIM.MAX_EPOCH": Limits(at_most=MOST_EPOCHS),
    "OPTIM.MAX_ITER": Limits(0, MOST_ITERATIONS),
    "OPTIM.ITERS_PER_SHOT": Limits(0, MOST_ITERATIONS),
    "OPTIM.MIN_LR": Limits(0),
    "OPTIM.WARMUP_CONS_LR": Limits(0),
    "OPTIM.WARMUP_MIN_LR": Limits(0),
    "TRAIN.PRINT_FREQ": Limits(1),
    "TRAIN.CUDA_GRAPH": Limits(choices=("auto", "off")),
    "TEST.EVALUATOR": Limits(choices=("Classification",)),
    "TEST.PREC": Limits(choices=("peers", "train")),
    "TEST.SPLIT": Limits(choices=("test", "val")),
    "TEST.FINAL_MODEL": Limits(choices=("last_step", "best_val")),
}


def limit_problems(cfg: CfgNode) -> list[str]:
    """What is out of bounds in a config, one line each; keys that a config lacks are passed over."""
    return list(filter(None, _problems(cfg)))


def _problems(cfg: CfgNode) -> Iterator[str | None]:
    if cfg.SEED >= SEEDS:
        yield f"SEED is {cfg.SEED}, expected less than {SEEDS}"
    for key, limits in LIMITS.items():
        if (value := _value(cfg, key)) is not _NONE:
            yield limits.problem(key, value)
    if cfg.INPUT.RRCROP_SCALE and len(cfg.INPUT.RRCROP_SCALE) != 2:
        yield f"INPUT.RRCROP_SCALE is {cfg.INPUT.RRCROP_SCALE}, expected the smallest and the largest share of the area"
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if len(cfg.INPUT[key]) != 3:
            yield f"INPUT.{key} is {cfg.INPUT[key]}, expected three numbers, one a channel"
    if cfg.OPTIM.SGD_NESTEROV and cfg.OPTIM.NAME == "sgd" and (cfg.OPTIM.MOMENTUM <= 0 or cfg.OPTIM.SGD_DAMPNING != 0):
        yield "OPTIM.SGD_NESTEROV is True, expected an OPTIM.MOMENTUM above 0 and SGD_DAMPNING 0 with it"
