"""result.json: what one run measured, beside everything that says which run it was.

A run has a status. `done` carries the measurements; `running` and `failed` only say what was started, and why it
failed. Records are plain JSON without NaN, so that any language reads them.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mocoop import __version__
from mocoop.config import leaves
from mocoop.errors import DataError, one_line, quoted
from mocoop.files import read_json, write_file
from mocoop.registry import listed
from mocoop.versions import installed_versions

FORMAT = 1
FILE_NAME = "result.json"
TRANSDUCED = "transduced"  # the folder in a run's of what was put on top of it
EDGE = 1024  # bytes of a record's beginning and end that say its status and times
STATUSES = ("running", "done", "failed")
# What may change when a run goes on in its folder: where things lie, and how it is watched.
CHANGEABLE_KEYS = (
    "OUTPUT_DIR",
    "RESUME",
    "DATASET.ROOT",
    "DATASET.FOLDER.READ",
    "VERBOSE",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.DECODED_MB",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.WANDB",
    "TEST.FEATURE_CACHE",
)
UNHASHED_KEYS = (*CHANGEABLE_KEYS, "SEED")
TRAINING_KEYS = ("OPTIM", "DATALOADER.TRAIN_X", "TEST.FINAL_MODEL")  # what only training reads
UNREAD_KEYS = ("DATALOADER.TRAIN_U", "MODEL.HEAD")  # what Dassl's config has, and no method here
OWN_IMAGES = "Folder"  # the data set that reads DATASET.FOLDER
VERSIONED_PACKAGES = ("torch", "torchvision", "numpy", "clip-anytorch")

ROUTERS = ("router", "dense", "random", "best expert", "style", "any expert")  # see mocoop.results.routing

_NUMBER = (int, float, None)
_TEXT = (str, None)
# What a record holds: {field: kind}. A kind is a type, a tuple of types and None, [kind of all items], or again
# {field: kind}, where `...` stands for any field. A field that ends in "?" may be absent or null.
_RUN: dict[Any, Any] = {
    "method": str,
    "dataset": str,
    "backbone": str,
    "subsample_classes": str,
    "shots": int,
    "seed": int,
    "config": dict,
    "config_sha256": str,
    "weights_sha256?": str,  # of what was learned
    "clip_sha256?": str,  # of the backbone's weights
    "test_sha256?": str,  # of the list of test images, if they lie below the data root
    "train_per_class?": [int],  # the fewest and the most images that a class was trained on
    "precision?": {...: str},  # of "train" and "test"
    "knowledge?": [str],  # what training used beyond images and names of the trained classes
    "zero_shot?": {...: (bool, *_NUMBER)},  # how the method compares with what it started from
    "command?": {...: (bool, int, *_TEXT)},  # what train.py was asked to do
    "ranks?": int,
    "timings?": {...: _NUMBER},  # seconds by part, of mocoop.timings
    "routing?": dict,  # of mocoop.results.routing, for methods that route
    "transduction?": dict,  # what saw test images together (mocoop.transduce), and which
    "error?": str,  # why a run failed
}
_DONE: dict[Any, Any] = {
    "split": str,
    "epoch": (int, None),  # of the weights that were tested; None if nothing was trained, as the selection
    "selection": _TEXT,  # "last_step", "best_val", or "epoch" for one that was asked for
    "metrics": {"accuracy": _NUMBER},  # of mocoop.results.metrics, as per_class
    "per_class": [{"label": int, "classname": str, "total": int, "correct": int}],
    "num_classes": int,
    "num_test": int,
    "manifest_sha256": _TEXT,
    "engine": str,
    "versions": dict,
    "seconds": {...: _NUMBER},  # of "train" and "test"
    "peak_memory_mb": _NUMBER,
    "finished": str,
    "routing?": {
        "groups": list,
        "top_k": int,
        "chosen": list,
        "chosen_by_domain": dict,
        "domain_in_top_k": _NUMBER,
        # what other routers would reach, which records of earlier versions lack
        "routers?": {"load": [(int, float)], "agreement": (int, float), "accuracy": dict.fromkeys(ROUTERS, _NUMBER)},
    },
    "transduction?": {"with": str, "label": str, "seen": str, "settings": dict, "batch": int},
}


def build_record(config: Mapping, **measured: Any) -> dict:
    """The record of a finished run.

    config: the whole configuration (a yacs node or a nested mapping); method, dataset, backbone, classes, shots and
    seed are read from it. measured: the fields of _DONE, and optional ones of _RUN, that are not derived here.
    """
    derived = {
        "num_classes": len(measured["per_class"]),
        "num_test": sum(row["total"] for row in measured["per_class"]),
        "versions": {"mocoop": __version__, **installed_versions(VERSIONED_PACKAGES)},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    known = {"format": FORMAT, "status": "done", **_identity(config, measured.get("command"))}
    optional = dict.fromkeys(field[:-1] for field in _RUN if field.endswith("?") and field != "error?")
    record = known | optional | derived | measured
    record["seconds"] = record.pop("seconds")  # the last, where `glance` finds it
    return record


def unfinished_record(config: Mapping, status: str, error: str | None = None, command: dict | None = None) -> dict:
    """The record of a run that is `running` or has `failed`; `error` is the one line that says why."""
    return {"format": FORMAT, "status": status, **_identity(config, command), "error": error, "command": command}


def write_record(path: str | Path, record: dict) -> None:
    """Validates the record and writes it atomically. Raises DataError if it is not a valid record."""
    validate_record(record, path)
    write_file(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(path: str | Path) -> dict:
    """The record at `path`. Raises DataError if it is missing, damaged or of another format."""
    record = read_json(path, "record of a run", "remove it and run again")
    validate_record(record, path)
    return record


def glance(path: str | Path) -> tuple[str | None, float]:
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


def validate_record(record: object, where: str | Path) -> None:
    """Raises DataError, naming `where`, the field, what was found and what was expected."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = quoted(record.get("format")) if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{where}: got format {found}, expected {FORMAT}; it was not written by this version of mocoop")
    if record.get("status") not in STATUSES:
        raise DataError(f"{where}: got status {quoted(record.get('status'))}, expected one of {', '.join(STATUSES)}")
    _check(record, _RUN, f"{where}: ", f"a run that is {record['status']}")
    if record["status"] != "done":
        return
    _check(record, _DONE, f"{where}: ", "a run that is done")
    if routers := (record.get("routing") or {}).get("routers"):
        if len(routers["load"]) != len(record["routing"]["groups"]):
            load = quoted(routers["load"])
            raise DataError(f"{where}: routing: got load = {load}, expected a number for each of the groups")
    for name, value in record["metrics"].items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 100 + 1e-9:
            raise DataError(f"{where}: got {one_line(name, 80)} = {quoted(value)}, expected a percentage from 0 to 100")


def _check(values: dict, fields: dict[Any, Any], where: str, what: str) -> None:
    """Raises DataError for the first of these fields, with their kinds, that is not as it should be."""
    if ... in fields:
        fields = dict.fromkeys(values, fields[...])
    for field, kind in fields.items():
        name = field.removesuffix("?")
        if name != field and values.get(name) is None:
            continue
        if name not in values:
            raise DataError(f"{where}got no field {name!r}, expected one in {what}")
        kinds = kind if isinstance(kind, tuple) else (type(kind) if isinstance(kind, (list, dict)) else kind,)
        types = tuple(type(None) if one is None else one for one in kinds)
        if not isinstance(values[name], types) or isinstance(values[name], bool) and bool not in kinds:
            names = " or ".join("null" if one is None else one.__name__ for one in kinds)
            raise DataError(f"{where}got {name} = {quoted(values[name])}, expected {names}")
        if isinstance(kind, list):
            items = {f"{name}[{number}]": item for number, item in enumerate(values[name])}
            _check(items, dict.fromkeys(items, kind[0]), where, what)
        elif isinstance(kind, dict):
            _check(values[name], kind, f"{where}{name}: ", name)


def plain_config(config: Mapping) -> dict:
    """The configuration as nested dicts of JSON values; tuples become lists."""
    return {str(key): _plain(value) for key, value in config.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return plain_config(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def used_config(config: Mapping, trains: bool = True) -> dict:
    """What of a configuration the method, the data and the run read, as plain values.

    Left out are the nodes of other methods than TRAINER.NAME and those that its settings name (the base of DePT, the
    experts of Mixture), those of other data, and where nothing is trained what only training reads. trains: False for
    an evaluation; a method that learns nothing does not train anyway.
    """
    plain, known = plain_config(config), listed()
    trainer = plain.get("TRAINER")
    if not isinstance(trainer, dict):
        return plain
    own = known.get(trainer.get("NAME", ""))
    nodes = {method.node for method in known.values()} - {own and own.node, None}
    if own:  # what is of no method in the list is a plugin's
        nodes |= {name for name, value in trainer.items() if isinstance(value, dict)} - {own.node}
    mine = [value for name, value in trainer.items() if name not in nodes and isinstance(value, dict)]
    held = {value for node in mine for value in node.values() if isinstance(value, str)} & known.keys()
    unread = [f"TRAINER.{node}" for node in nodes - {known[name].node for name in held}]
    if plain.get("DATASET", {}).get("NAME") != OWN_IMAGES:
        unread.append(f"DATASET.{OWN_IMAGES.upper()}")
    if not trains or own and not own.learns:
        unread += TRAINING_KEYS
    return _drop(plain, (*unread, *UNREAD_KEYS))


def config_sha256(config: Mapping, trains: bool = True) -> str:
    """The hash of what was run, equal for the seeds of one experiment and on every machine.

    Of `used_config`, without the seed, where things lie and how the run is watched (CHANGEABLE_KEYS); of any other
    absolute path only its last part counts. Records of earlier versions hold a hash over more keys: whoever compares
    runs takes it of their `config` again (`mocoop.results.runs`), so that old and new ones compare.
    """
    text = json.dumps(portable_config(config, trains), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def portable_config(config: Mapping, trains: bool = True) -> dict:
    """What of a configuration says what was run, and nothing of the machine: see `config_sha256`."""
    return _without_folders(_drop(used_config(config, trains), UNHASHED_KEYS))


def config_differences(recorded: Mapping, wanted: Mapping, trains: bool = True) -> list[str]:
    """One line for each key of `used_config` whose value was another; keys that only one has do not count.

    Nor do CHANGEABLE_KEYS.
    """
    old, new = (dict(leaves(_drop(used_config(config, trains), CHANGEABLE_KEYS))) for config in (recorded, wanted))
    return [f"{key} was {old[key]!r}, got {new[key]!r}" for key in new if key in old and old[key] != new[key]]


def trains(record: dict) -> bool:
    """Whether a run trained, as far as what was asked of it says: whether it was no evaluation."""
    return not (record.get("command") or {}).get("eval_only")


def _identity(config: Mapping, command: dict | None) -> dict:
    dataset = config["DATASET"]
    return {
        "method": config["TRAINER"]["NAME"],
        "dataset": dataset["NAME"],
        "backbone": config["MODEL"]["BACKBONE"]["NAME"],
        "subsample_classes": dataset.get("SUBSAMPLE_CLASSES", "all"),
        "shots": dataset["NUM_SHOTS"],
        "seed": config["SEED"],
        "config": plain_config(config),
        "config_sha256": config_sha256(config, trains({"command": command})),
    }


def _drop(settings: dict, dotted_keys: Collection[str], prefix: str = "") -> dict:
    return {
        key: _drop(value, dotted_keys, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in settings.items()
        if prefix + key not in dotted_keys
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
