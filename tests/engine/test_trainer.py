"""What a trainer is built from; how it trains is tested in tests/training."""

import pytest
import torch

from mocoop.engine.lite.trainer import TrainerX
from mocoop.errors import ConfigError


class Toy(TrainerX):
    def build_model(self):
        self.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(768, self.num_classes))
        self.register_model("toy", self.model)


def test_data_model_and_evaluator_are_built(cfg):
    trainer = Toy(cfg)
    assert trainer.num_classes == 3 and trainer.lab2cname[0] == "red"
    assert trainer.train_loader_x is trainer.dm.train_loader_x and len(trainer.test_loader) == 4
    trainer.evaluator.process(trainer.model(torch.zeros(2, 3, 16, 16)), torch.tensor([0, 1]))
    assert trainer.evaluator.evaluate()["accuracy"] in (0.0, 50.0, 100.0)


def test_models_by_name(cfg):
    trainer = Toy(cfg)
    trainer.set_model_mode("eval")
    assert not trainer.model.training
    trainer.set_model_mode("train")
    assert trainer.model.training
    with pytest.raises(ValueError, match="already registered"):
        trainer.register_model("toy")
    with pytest.raises(ValueError, match='got mode "test2"'):
        trainer.set_model_mode("test2")


def test_unknown_dataset(cfg):
    cfg.DATASET.NAME = "Colors"
    with pytest.raises(ConfigError, match='DATASET.NAME: got "Colors", expected one of .*did you mean "Colours"'):
        Toy(cfg)
