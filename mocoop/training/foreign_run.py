"""What the folder of a run tells whose checkpoint says nothing, as those of CoOp and its kin.

The configuration that train.py printed into log.txt is believed first, then the folder's place in CoOp's layouts.
"""

import re
from pathlib import Path

import yaml

from mocoop.registry import MethodEntry, methods
from mocoop.results.coop_logs import log_place, logged_config

# what names of CoOp's config files begin with, such as vit_b16_ep50_ctxv1
_BACKBONES = {"rn50": "RN50", "rn101": "RN101", "vit_b32": "ViT-B/32", "vit_b16": "ViT-B/16", "vit_l14": "ViT-L/14"}
_CLASSES = {"train_base": "base", "train_new": "new"}


def foreign_description(folder: Path) -> dict:
    """What is known of the run in a folder: name (of a method of ours), backbone, dataset, classes, structure.

    classes: DATASET.SUBSAMPLE_CLASSES. structure: the method's structural keys. What is not known is left out.
    """
    config, place = logged_config(folder), log_place(folder) or {}
    entry = methods().get(config.get("TRAINER.NAME") or place.get("method", ""))
    known = {
        "name": entry.name if entry else None,
        "backbone": config.get("MODEL.BACKBONE.NAME") or _backbone_of(place.get("cfg", "")),
        "dataset": config.get("DATASET.NAME"),
        "classes": config.get("DATASET.SUBSAMPLE_CLASSES") or _CLASSES.get(place.get("phase", "")),
        "structure": _structure(entry, config) if entry else None,
    }
    return {key: value for key, value in known.items() if value}


def _backbone_of(cfg_name: str) -> str | None:
    found = (name for start, name in _BACKBONES.items() if re.match(rf"{start}(_|$)", cfg_name))
    return next(found, None)


def _structure(entry: MethodEntry, config: dict[str, str]) -> dict:
    stated = {key: config.get(f"TRAINER.{entry.node}.{key}") for key in entry.structural_keys}
    return {key: _value(text) for key, text in stated.items() if text is not None}


def _value(text: str) -> object:
    """A value as yacs prints it: plain yaml, of which an empty one is a text."""
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text
