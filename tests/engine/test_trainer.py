"""What a trainer is built from; how it trains is tested in tests/training."""

import pytest
import torch

from mocoop.engine.lite import TrainerX
from mocoop.errors import ConfigError


class Toy(TrainerX):
    def build_model(self):
        self.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(768, self.num_classes))


def test_data_and_model_are_built(cfg):
    trainer = Toy(cfg)
    assert trainer.num_classes == 3 and trainer.lab2cname[0] == "red"
    assert trainer.train_loader_x is trainer.dm.train_loader_x and len(trainer.test_loader) == 4
    assert trainer.model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_unknown_dataset(cfg):
    cfg.DATASET.NAME = "Colors"
    with pytest.raises(ConfigError, match='DATASET.NAME: got "Colors", expected one of .*did you mean "Colours"'):
        Toy(cfg)
