"""Config keys of own images, DATASET.FOLDER.*, which the dataset `Folder` reads."""

from yacs.config import CfgNode

from mocoop.images import MINMAX

BAD_IMAGES = ("skip", "error")


def add_folder_config(cfg: CfgNode) -> None:
    """Add DATASET.FOLDER, and DATASET.FOLLOW_LINKS for all data sets, to a config."""
    cfg.DATASET.setdefault("FOLDER", folder_defaults())
    cfg.DATASET.setdefault("FOLLOW_LINKS", False)  # read images behind links that lead out of the data root


def dataset_defaults() -> CfgNode:
    """A node DATASET that has what own images and links need, for tools."""
    cfg = CfgNode({"DATASET": {}})
    add_folder_config(cfg)
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
