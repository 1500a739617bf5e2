"""All readers that could meet a kind of file: the whole way that a user takes last, the parts of it before."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets  # noqa: F401  (registers them)
import train
from mocoop.backbone import load_clip
from mocoop.clip.templates import template_problem
from mocoop.config import merge_file, merge_overrides
from mocoop.data.config import folder_defaults, read_template_groups
from mocoop.data.exchange import read_pickled_subset, read_subset
from mocoop.data.image_csv import read_class_names, read_image_csv
from mocoop.data.inspection import inspect_images
from mocoop.data.item import Item, class_names
from mocoop.data.layout import read_class_folders
from mocoop.data.lists import read_manifest, read_split
from mocoop.data.prepare import check
from mocoop.data.subset import take_records
from mocoop.engine import DATASET_REGISTRY, get_cfg_default
from mocoop.errors import ConfigError, DataError
from mocoop.images import read_image
from mocoop.methods import build_method, extend_cfg
from mocoop.results.csv_files import read_history, read_predictions
from mocoop.results.record import read_record
from mocoop.results.runs import collect
from mocoop.training.checkpoint import find_checkpoint, last_checkpoint, load_checkpoint
from mocoop.training.run_state import check_made_for, learned_state, with_structure
from tests.data.toy import ToySet, make_cfg
from tests.hostile.box import Box
from tests.small_clip import small_clip

CLIP = small_clip()


def config(**dataset):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME = "CoOp", "small"
    cfg.TRAINER.COOP.PREC, cfg.TRAINER.COOP.N_CTX = "fp32", 2
    for key, value in dataset.items():
        cfg.DATASET[key] = value
    return cfg


def _toy(box: Box, shots: int = -1):
    return ToySet(make_cfg(box.root, shots))


def _own(box: Box, **settings):
    cfg = make_cfg(box.own)
    cfg.DATASET.FOLDER = folder_defaults()
    cfg.DATASET.FOLDER.update(settings)
    return DATASET_REGISTRY.get("Folder")(cfg)


def _own_from_folders(box: Box, path: Path):
    dataset = _own(box)
    images = [item.impath for part in (dataset.train_x, dataset.val, dataset.test) for item in part]
    assert len(images) == 8 and all(os.path.realpath(image).startswith(f"{box.own}/") for image in images)


def _own_from_csv(box: Box, path: Path):
    dataset = _own(box, CSV=path.name, BAD_IMAGES="error")
    assert all(item.impath.startswith(f"{box.own}/") for item in dataset.train_x)


def _subset_of_toy(box: Box, path: Path):
    splits = ToySet.open(str(box.root)).load_splits(store=False)
    return take_records(splits, read_subset(path), str(path), str(box.images))


def _image(box: Box, path: Path):
    image = read_image(path)
    assert image.mode == "RGB" and image.size == (16, 16)


def _looked_at(box: Box, path: Path):
    if problem := inspect_images(str(path.parent), [path.name])[path.name].problem:
        raise DataError(f"{path}: {problem}")


def _method(box: Box, classnames: list[str], *overrides: str):
    cfg = config()
    merge_overrides(cfg, overrides)
    return build_method(cfg, classnames, CLIP)


def _named(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogatepass")


def _class_name(box: Box, path: Path):
    name = _named(path)
    class_names([Item("x.jpg", 0, name), Item("y.jpg", 1, "dog")], path.name)
    for problem in (_method(box, [name, "dog"]),):
        assert len(problem.layout) == 2


def _template(box: Box, path: Path):
    template = _named(path)
    if problem := template_problem(template):
        raise ConfigError(f"{path.name}: {problem}")
    cfg = config()
    cfg.TRAINER.NAME = "MoCoOp"
    cfg.TRAINER.MOCOOP.GROUPS, cfg.TRAINER.MOCOOP.TOP_K = [[template]], 1
    return build_method(cfg, ["cat", "dog"], CLIP)


def _template_file(box: Box, path: Path):
    groups = path.with_name("groups.txt")
    groups.write_bytes(b"[group]\n" + path.read_bytes())
    return read_template_groups(groups)


def use_checkpoint(path: Path):
    cfg, checkpoint = config(), load_checkpoint(path)
    check_made_for(cfg, checkpoint, path)
    method = build_method(with_structure(cfg, (checkpoint.get("method") or {}).get("structure", {})), ["a", "b"], CLIP)
    method.load_learned_state(learned_state(checkpoint, path))
    return method


def _pointer(box: Box, path: Path):
    return find_checkpoint(path.parent)


def use_clip(path: Path):
    cfg = config()
    cfg.MODEL.BACKBONE.NAME = str(path)
    return load_clip(cfg)


def _collected(box: Box, path: Path):
    found = collect(path.parent)
    if found.problems:
        raise DataError(found.problems[0])


def _command_line(box: Box, *words: str):
    if train.main([*words]) == 2:
        raise ConfigError("exit 2")
    raise AssertionError("train.py went on")


def _overrides(box: Box, path: Path):
    merge_overrides(config(), json.loads(path.read_text()))


Reader = Callable[[Box, Path], object]
WHERE = {  # the place and name of a kind's files in a box
    "split": "data/toy/split_zhou_ToySet.json",
    "manifest": "data/toy/split_fewshot/shot_2-seed_1.jsonl",
    "pickle": "data/toy/split_fewshot/shot_2-seed_1.pkl",
    "2sfs": "shot_2-seed_1_train.jsonl",
    "csv": "own/images.csv",
    "classnames": "own/names.csv",
    "tree": "own",
    "name": "name.txt",
    "template": "template.txt",
    "yaml": "config.yaml",
    "override": "override.json",
    "image": "images/picture.jpg",
    "checkpoint": "prompt_learner/model.pth.tar-1",
    "pointer": "prompt_learner/checkpoint",
    "clip": "clip.pt",
    "safetensors": "clip.safetensors",
    "result": "results/result.json",
    "history": "history.csv",
    "predictions": "predictions.csv",
}
READERS: dict[str, list[Reader]] = {
    "split": [
        lambda box, path: read_split(path, str(box.images)),
        lambda box, path: check(ToySet.open(str(box.root)), {}, images=True),
        lambda box, path: _toy(box),
    ],
    "manifest": [lambda box, path: read_manifest(path), _subset_of_toy, lambda box, path: _toy(box, shots=2)],
    "pickle": [lambda box, path: read_pickled_subset(path), _subset_of_toy, lambda box, path: _toy(box, shots=2)],
    "2sfs": [lambda box, path: read_subset(path), _subset_of_toy],
    "csv": [lambda box, path: read_image_csv(str(path), str(box.own)), _own_from_csv],
    "classnames": [lambda box, path: read_class_names(str(path)), lambda box, path: _own(box, CLASSNAMES=path.name)],
    "tree": [lambda box, path: read_class_folders(str(path), []), _own_from_folders],
    "name": [lambda box, path: _method(box, [_named(path), "dog"]), _class_name],
    "template": [_template_file, _template],
    "yaml": [
        lambda box, path: merge_file(config(), str(path)),
        lambda box, path: _command_line(box, "--config-file", str(path)),
    ],
    "override": [_overrides, lambda box, path: _command_line(box, *json.loads(path.read_text()))],
    "image": [_looked_at, _image],
    "checkpoint": [
        lambda box, path: load_checkpoint(path),
        lambda box, path: use_clip(path),
        lambda box, path: use_checkpoint(path),
    ],
    "pointer": [lambda box, path: last_checkpoint(path.parent), _pointer],
    "clip": [lambda box, path: load_checkpoint(path), lambda box, path: use_clip(path)],
    "safetensors": [lambda box, path: use_clip(path)],
    "result": [_collected, lambda box, path: read_record(path)],
    "history": [lambda box, path: read_history(path)],
    "predictions": [lambda box, path: read_predictions(path)],
}
