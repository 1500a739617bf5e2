"""result.json: what one run measured, beside everything that says which run it was.

A run has a status. `done` carries the measurements; `running` and `failed` only say what was started, and why it
failed. Records are plain JSON without NaN, so that any language reads them.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from mocoop import __version__
from mocoop.errors import DataError, one_line, quoted
from mocoop.files import read_json, write_file
from mocoop.settings import leaves
from mocoop.versions import installed_versions

FORMAT = 1
FILE_NAME = "result.json"
EDGE = 1024  # bytes of a record's beginning and end that say its status and times
STATUSES = ("running", "done", "failed")
# What may change when a run goes on in its folder: where things lie, and how it is watched.
CHANGEABLE_KEYS = (
    "OUTPUT_DIR",
    "RESUME",
    "DATASET.ROOT",
    "VERBOSE",
    "DATALOADER.NUM_WORKERS",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.WANDB",
    "TEST.FEATURE_CACHE",
)
UNHASHED_KEYS = (*CHANGEABLE_KEYS, "SEED")
VERSIONED_PACKAGES = ("torch", "torchvision", "numpy", "clip-anytorch")

ROUTERS = ("router", "dense", "random", "best expert", "style", "any expert")  # see mocoop.results.router_tally

_IDENTITY = {
    "method": str,
    "dataset": str,
    "backbone": str,
    "subsample_classes": str,
    "shots": int,
    "seed": int,
    "config": dict,
    "config_sha256": str,
}
_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
_MEASURED = {
    "split": str,
    "epoch": (int, type(None)),  # of the weights that were tested; None if nothing was trained, as the selection
    "selection": (str, type(None)),  # "last_step", "best_val", or "epoch" for one that was asked for
    "metrics": dict,  # of mocoop.results.metrics, as per_class
    "per_class": list,
    "routing": (dict, type(None)),  # of mocoop.results.routing, for methods that route
    "num_classes": int,
    "num_test": int,
    "manifest_sha256": (str, type(None)),
    "engine": str,
    "versions": dict,
    "seconds": dict,  # of "train" and "test"
    "peak_memory_mb": _NUMBER,
    "finished": str,
}
# What a record may lack: hashes of the learned weights, and of CLIP's, of which older records have only the name;
# precision of "train" and "test"; what training used beyond images and names of the trained classes; how the method
# compares with what it started from; what train.py was asked to do.
_OPTIONAL = ("weights_sha256", "clip_sha256", "precision", "knowledge", "zero_shot", "command", "ranks")
_CLASS = {"label": int, "classname": str, "total": int, "correct": int}
_ROUTERS = {"load": list, "agreement": (int, float), "accuracy": dict}
_ROUTING = {"groups": list, "top_k": int, "chosen": list, "chosen_by_domain": dict, "domain_in_top_k": _NUMBER}


def build_record(config, **measured) -> dict:
    """The record of a finished run.

    config: the whole configuration (a yacs node or a nested mapping); method, dataset, backbone, classes, shots and
    seed are read from it. measured: the fields of _MEASURED and _OPTIONAL that are not derived here.
    """
    derived = {
        "routing": None,
        "num_classes": len(measured["per_class"]),
        "num_test": sum(row["total"] for row in measured["per_class"]),
        "versions": {"mocoop": __version__, **installed_versions(VERSIONED_PACKAGES)},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    known = {"format": FORMAT, "status": "done", **_identity(config)}
    record = known | dict.fromkeys(_OPTIONAL) | derived | measured
    record["seconds"] = record.pop("seconds")  # the last, where `glance` finds it
    return record


def unfinished_record(config, status: str, error: str | None = None, command: dict | None = None) -> dict:
    """The record of a run that is `running` or has `failed`; `error` is the one line that says why."""
    return {"format": FORMAT, "status": status, **_identity(config), "error": error, "command": command}


def write_record(path, record: dict) -> None:
    """Validates the record and writes it atomically. Raises DataError if it is not a valid record."""
    validate_record(record, path)
    write_file(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(path) -> dict:
    """The record at `path`. Raises DataError if it is missing, damaged or of another format."""
    record = read_json(path, "record of a run", "remove it and run again")
    validate_record(record, path)
    return record


def glance(path) -> tuple[str | None, float]:
    """Status and seconds of the record at `path`; None and 0 where there is none, or its end is missing.

    Only its first and last lines are read, if the seconds are there: a record of a thousand classes is long, and a plan
    has thousands of them.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(EDGE)
            file.seek(max(0, os.fstat(file.fileno()).st_size - EDGE))
            tail = file.read()
            if b'"seconds"' not in tail:
                file.seek(0)
                tail = file.read()
    except OSError:
        return None, 0.0
    status = re.match(rb'\{\s*("format": *\d+,\s*)?"status": *"(\w+)"', head)
    if status is None or not tail.rstrip().endswith(b"}"):
        return None, 0.0
    seconds = re.search(rb'"seconds": *\{([^{}]*)\}', tail)
    numbers = re.findall(rb": *([\d.]+)", seconds[1]) if seconds else []
    return status[2].decode(), sum(map(float, numbers))


def validate_record(record, where) -> None:
    """Raises DataError, naming `where`, the field, what was found and what was expected."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = quoted(record.get("format")) if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{where}: got format {found}, expected {FORMAT}; it was not written by this version of mocoop")
    if record.get("status") not in STATUSES:
        raise DataError(f"{where}: got status {quoted(record.get('status'))}, expected one of {', '.join(STATUSES)}")
    _check_fields(record, _IDENTITY, f"{where}: ", f"a run that is {record['status']}")
    if record["status"] != "done":
        return
    _check_fields(record, _MEASURED, f"{where}: ", "a run that is done")
    _check_fields(record["seconds"], dict.fromkeys(record["seconds"], _NUMBER), f"{where}: seconds: ", "a run")
    _check_fields({"clip_sha256": record.get("clip_sha256")}, {"clip_sha256": _TEXT}, f"{where}: ", "a run")
    knowledge = record.get("knowledge") or []
    if not isinstance(knowledge, list) or not all(isinstance(what, str) for what in knowledge):
        raise DataError(f"{where}: got knowledge = {quoted(knowledge)}, expected a list of texts")
    for number, row in enumerate(record["per_class"]):
        _check_fields(row, _CLASS, f"{where}: per_class[{number}]: ", "a class")
    if record["routing"] is not None:
        _check_fields(record["routing"], _ROUTING, f"{where}: routing: ", "a method that routes")
        _check_routers(record["routing"], f"{where}: routing: ")
    for name, value in record["metrics"].items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 100 + 1e-9:
            raise DataError(f"{where}: got {one_line(name, 80)} = {quoted(value)}, expected a percentage from 0 to 100")


def _check_routers(routing: dict, where: str) -> None:
    """What other routers would reach, which records of earlier versions lack."""
    if "routers" not in routing:
        return
    _check_fields(routing["routers"], _ROUTERS, f"{where}routers: ", "a method that routes")
    _check_fields(routing["routers"]["accuracy"], dict.fromkeys(ROUTERS, _NUMBER), f"{where}accuracy: ", "a router")
    load = routing["routers"]["load"]
    if len(load) != len(routing["groups"]) or not all(type(part) in (int, float) for part in load):
        raise DataError(f"{where}got load = {quoted(load)}, expected a number for each of the groups")


def _check_fields(values, expected: dict, where: str, what: str) -> None:
    for field, kind in expected.items():
        if not isinstance(values, dict) or field not in values:
            raise DataError(f"{where}got no field {field!r}, expected one in {what}")
        if not isinstance(values[field], kind) or isinstance(values[field], bool):
            raise DataError(f"{where}got {field} = {quoted(values[field])}, expected {_kind_name(kind)}")


def plain_config(config) -> dict:
    """The configuration as nested dicts of JSON values; tuples become lists."""
    if isinstance(config, Mapping):
        return {str(key): plain_config(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain_config(value) for value in config]
    return config


def config_sha256(config) -> str:
    """The hash of what was run, equal for the seeds of one experiment and on every machine.

    Left out are the seed, where things lie and how the run is watched (CHANGEABLE_KEYS); of any other absolute path
    only its last part counts.
    """
    text = json.dumps(portable_config(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def portable_config(config) -> dict:
    """What of a configuration says what was run, and nothing of the machine: see `config_sha256`."""
    return _without_folders(_drop(plain_config(config), UNHASHED_KEYS))


def config_differences(recorded: dict, wanted) -> list[str]:
    """One line for each key whose value was another, CHANGEABLE_KEYS aside; keys that only one has do not count."""
    old, new = (dict(leaves(_drop(plain_config(config), CHANGEABLE_KEYS))) for config in (recorded, wanted))
    return [f"{key} was {old[key]!r}, got {new[key]!r}" for key in new if key in old and old[key] != new[key]]


def _identity(config) -> dict:
    dataset = config["DATASET"]
    return {
        "method": config["TRAINER"]["NAME"],
        "dataset": dataset["NAME"],
        "backbone": config["MODEL"]["BACKBONE"]["NAME"],
        "subsample_classes": dataset.get("SUBSAMPLE_CLASSES", "all"),
        "shots": dataset["NUM_SHOTS"],
        "seed": config["SEED"],
        "config": plain_config(config),
        "config_sha256": config_sha256(config),
    }


def _drop(settings: dict, dotted_keys, prefix: str = "") -> dict:
    return {
        key: _drop(value, dotted_keys, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in settings.items()
        if prefix + key not in dotted_keys
    }


def _without_folders(value):
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _kind_name(kind) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join("null" if one is type(None) else one.__name__ for one in kinds)
