"""Config keys of own images, DATASET.FOLDER.*, which the dataset `Folder` reads."""

from yacs.config import CfgNode

BAD_IMAGES = ("skip", "error")


def add_folder_config(cfg: CfgNode) -> None:
    """Add DATASET.FOLDER to a config."""
    cfg.DATASET.setdefault("FOLDER", folder_defaults())


def folder_defaults() -> CfgNode:
    """The node DATASET.FOLDER with its defaults."""
    node = CfgNode()
    node.CSV = ""  # list of images in the data root: path,label[,split][,domain]; empty: class folders
    node.CLASSNAMES = ""  # csv in the data root: label,classname; its order is the order of the labels
    node.SPLIT_SEED = 1  # seed of the split into train, val and test, where none is given
    node.BAD_IMAGES = "skip"  # skip: leave unreadable images out, naming them; error: stop
    return node
