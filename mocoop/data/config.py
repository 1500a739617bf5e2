"""Config keys of own images, DATASET.FOLDER.*, which the dataset `Folder` reads."""

from yacs.config import CfgNode

from mocoop.images import MINMAX

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
    node.RANGE = MINMAX  # black and white of deep images: "minmax" of all of them, "full", or "low,high"
    node.BACKGROUND = "white"  # colour behind transparent pixels; "": show what is hidden there
    node.READ = ""  # not to be set: the range that the data set found, kept with the run for its predictions
    return node
