"""Own images in configs: the keys DATASET.FOLDER.*, and the yaml of a folder with groups of templates to edit."""

import json
import re
import shlex
from pathlib import Path

from yacs.config import CfgNode

from mocoop.clip.templates import template_groups, template_problem
from mocoop.config import AUTO
from mocoop.errors import DataError
from mocoop.files import check_unused, read_text, write_file
from mocoop.images import MINMAX
from mocoop.names import name_problem

BAD_IMAGES = ("skip", "error")


def add_data_config(cfg: CfgNode) -> None:
    """Add to a config what data sets and loaders here read beside Dassl's keys; a key that it has keeps its value."""
    cfg.DATASET.setdefault("FOLDER", folder_defaults())
    cfg.DATASET.setdefault("FOLLOW_LINKS", False)  # read images behind links that lead out of the data root
    if "DATALOADER" in cfg:
        cfg.DATALOADER.setdefault(
            "DECODED_MB", 1024
        )  # memory for decoded few-shot training images; 0: decode each time


def dataset_defaults() -> CfgNode:
    """A node DATASET that has what own images and links need, for tools."""
    cfg = CfgNode({"DATASET": {}})
    add_data_config(cfg)
    return cfg.DATASET


def folder_defaults() -> CfgNode:
    """The node DATASET.FOLDER with its defaults."""
    node = CfgNode()
    node.CSV = ""  # list of images in the data root: path,label[,split][,domain]; empty: class folders
    node.CSV_COLUMNS = ""  # what it calls them, as in "image=filename,label=breed,split=part,domain=site"
    node.CLASSNAMES = ""  # csv in the data root: label,classname; its order is the order of the labels
    node.SPLIT_SEED = 1  # seed of the split into train, val and test, where none is given
    node.BAD_IMAGES = "skip"  # skip: leave unreadable images out, naming them; error: stop
    node.RANGE = MINMAX  # black and white of deep images: "minmax" of all of them, "full", or "low,high"
    node.BACKGROUND = "white"  # colour behind transparent pixels; "": show what is hidden there
    node.READ = ""  # not to be set: the range that the data set found, kept with the run for its predictions
    return node


def config_name(root: str) -> str:
    """A name for the config of the images in `root`: its last folder in small letters, digits and underscores."""
    name = re.sub(r"\W+", "_", Path(root).name.lower()).strip("_")
    return name or "own_images"


def write_config(path: Path, root: str, node: CfgNode, groups: dict[str, list[str]] | None) -> None:
    """Write the yaml of a dataset `Folder`; raises ConfigError if there is a file of that name.

    Args:
        path: the yaml.
        root: the data root, absolute.
        node: the config's DATASET, of which FOLDER and FOLLOW_LINKS are written.
        groups: MoCoOp's groups of templates by name; None leaves them to CLIP's text features (GROUPS auto).
    """
    check_unused(path, advice="delete it, or choose another --name")
    lines = [
        f"# DATA={shlex.quote(root)} bash scripts/mocoop/base2new_train.sh {path.stem}",
        "DATASET:",
        '  NAME: "Folder"',
        f"  ROOT: {json.dumps(root, ensure_ascii=False)}",
        *(["  FOLLOW_LINKS: True"] if node.FOLLOW_LINKS else []),
        "  FOLDER:",
        *(f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in node.FOLDER.items() if key != "READ"),
        "TRAINER:",
        "  MOCOOP:  # an expert for each group of templates; {} is the class name",
        *_group_lines(groups),
    ]
    write_file(path, "\n".join(lines) + "\n")


def _group_lines(groups: dict[str, list[str]] | None) -> list[str]:
    if groups is None:
        return [
            '    GROUPS: "auto"',
            '    AUTO_TEMPLATES: "clip"  # or "dataset", or a file with a sentence on each line',
        ]
    return [
        f"    GROUP_NAMES: {json.dumps(list(groups), ensure_ascii=False)}",
        '    GROUPS:  # instead of both, GROUPS: "auto" lets CLIP\'s text features group its 80 or your own sentences',
        *(f"      - {json.dumps(templates, ensure_ascii=False)}" for templates in groups.values()),
    ]


def read_template_groups(path: Path | None) -> dict[str, list[str]] | None:
    """Groups of templates from a text file, or the default ones; None for the word `auto`.

    A line "[name]" opens a group; the lines below it are its templates. Raises DataError naming a line that is neither.
    """
    if path is None:
        return template_groups("Folder")
    if str(path) == AUTO:
        return None
    groups: dict[str, list[str]] = {}
    for number, line in enumerate(map(str.strip, read_text(path, "list of templates").split("\n")), start=1):
        heading = re.fullmatch(r"\[(.+)\]", line)
        if heading:
            problem = "is there twice" if heading[1] in groups else name_problem(heading[1])
            if problem:
                raise DataError(f"{path}, line {number}: the name of the group {problem}")
            groups[heading[1]] = []
        elif line:
            problem = "no [name] of a group stands above it" if not groups else template_problem(line)
            if problem:
                raise DataError(f"{path}, line {number}: {problem}")
            groups[list(groups)[-1]].append(line)
    empty = [name for name, templates in groups.items() if not templates]
    if empty or not groups:
        raise DataError(f"{path}: " + (f"group [{empty[0]}] has no template" if empty else "holds no group"))
    return groups
