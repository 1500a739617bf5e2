"""Which configuration a run of a method takes, and the last epoch that it trains."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mocoop.checkout import config_names, find_config
from mocoop.config import leaves, read_settings
from mocoop.errors import ConfigError
from mocoop.registry import listed

FOLDER = "configs/trainers"  # <method>/<cfg>.yaml or <method>/<cfg>/<dataset>.yaml
COMPARED = ("ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp")  # the methods of a protocol where none is named


def _coop(protocol: str, dataset: str, shots: int) -> str:
    if protocol != "few_shot":
        return "vit_b16_ep50_ctxv1" if dataset == "imagenet" else "vit_b16_ctxv1"
    if dataset == "imagenet" or shots == 1:
        return "vit_b16_ep50"
    return "vit_b16_ep100" if shots in (2, 4) else "vit_b16"


def _prograd(protocol: str, dataset: str, shots: int) -> str:
    if protocol != "few_shot":
        return "default"
    if dataset == "imagenet" or shots == 1:
        return "rn50_ep50"
    return "rn50_ep100" if shots in (2, 4) else "rn50"


RULES: dict[str, Callable[[str, str, int], str]] = {  # as the methods' own repositories run them; MoCoOp as released
    "ZeroshotCLIP": lambda *_: "vit_b16",
    "ZeroshotCLIP2": lambda *_: "vit_b16",
    "CoOp": _coop,
    "CoCoOp": lambda *_: "vit_b16_c4_ep10_batch1_ctxv1",
    "ProGrad": _prograd,
    "MoCoOp": lambda *_: "released",
}


def default_configs(method: str, protocol: str, dataset: str, shots: int, shapes: str = "tiny") -> tuple[str, ...]:
    """Names of configurations; the first that exists is the default. A test takes that of its model's training.

    A method without a rule of its own names its configurations `shapes` for the Shapes sets, and for others after the
    protocol that trains it, or `default`.
    """
    small = (shapes,) if dataset.startswith("shapes_") else ()
    if method in RULES:
        return small or (RULES[method](protocol, dataset, shots),)
    return (*small, protocol, "default")


def shapes_config(folders: Iterable[Path]) -> str:
    """`tiny`, for the Shapes sets; `tiny_vit` if one of the methods has that alone, as it needs a vision transformer.

    Methods that are compared are compared on one CLIP.
    """
    found = [{name for name in ("tiny", "tiny_vit") if (folder / f"{name}.yaml").is_file()} for folder in folders]
    return "tiny_vit" if {"tiny_vit"} in found else "tiny"


def config_folder(checkout: Path, method: str, plugins: tuple[str, ...] = ()) -> str:
    """The folder of a method's configurations: FOLDER/<method>, relative to the checkout, if it is there.

    That of a method from outside the package is configs/<method>, beside the file that declares it.
    """
    folder, declared = f"{FOLDER}/{method}", listed(plugins).get(method)
    if find_config(checkout, folder).is_dir() or declared is None or declared.file is None:
        return folder
    return str(declared.file.parent / "configs" / method)


def choose_config(checkout: Path, folder: str, names: Sequence[str], dataset: str) -> tuple[str, str]:
    """The first of these configurations in a folder that there is: its name, and its file.

    The file of <cfg> is <cfg>.yaml, else <cfg>/<dataset>.yaml, else <cfg>/default.yaml. Raises ConfigError.
    """
    for name in names:
        for file in (f"{name}.yaml", f"{name}/{dataset}.yaml", f"{name}/default.yaml"):
            if find_config(checkout, f"{folder}/{file}").is_file():
                return name, f"{folder}/{file}"
    found = " ".join(config_names(checkout, folder))
    first = f"{folder}/{names[0]}"
    raise ConfigError(
        f"no configuration {first}.yaml or {first}/{dataset}.yaml; write it or set CFG to one of: {found}"
    )


def setting(file: Path, key: str, default: str = "") -> str:
    """What a configuration says of a key, as text; the default where it says nothing."""
    value: object = _settings(file)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return default if value is None else str(value) or default


@functools.cache
def _settings(file: Path) -> dict:
    try:
        return read_settings(file)
    except ConfigError:
        return {}


def last_epoch(checkout: Path, file: str, overrides: Sequence[str]) -> str | None:
    """OPTIM.MAX_EPOCH of a configuration, with KEY, VALUE, ... overrides; None if another model may be the final one.

    That is with TEST.FINAL_MODEL best_val, and with iterations: how many epochs those make depends on the data. Raises
    ConfigError for a configuration that says neither.
    """
    try:
        given = dict(leaves(read_settings(find_config(checkout, file))))
        given |= zip(overrides[::2], overrides[1::2])
        by_iterations = any(str(given.get(f"OPTIM.{key}", 0)) != "0" for key in ("MAX_ITER", "ITERS_PER_SHOT"))
        other = by_iterations or given.get("TEST.FINAL_MODEL") == "best_val"
        return None if other else str(given["OPTIM.MAX_EPOCH"])
    except (AttributeError, KeyError, TypeError):
        raise ConfigError(f"no OPTIM.MAX_EPOCH in {file}, so the epoch to load is not known") from None
