"""Our own engine: the part of Dassl's interface that prompt-learning trainers use, on current torch."""

import torch
from torch import nn
from yacs.config import CfgNode

from mocoop.engine.lite.data import DataManager


class TrainerX:
    """Builds data and model from a config, in this order. How it trains and tests is its own affair.

    Attributes: cfg, device, dm, train_loader_x, val_loader, test_loader, num_classes, lab2cname, output_dir.
    """

    model: nn.Module

    def __init__(self, cfg: CfgNode):
        self.check_cfg(cfg)
        self.cfg = cfg
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.output_dir = cfg.OUTPUT_DIR
        self.build_data_loader()
        self.build_model()

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise ConfigError for settings that this trainer cannot work with."""

    def build_data_loader(self) -> None:
        """Build the loaders and what they tell about the data."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.val_loader = self.dm.val_loader
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        """Set `self.model`."""
        raise NotImplementedError
