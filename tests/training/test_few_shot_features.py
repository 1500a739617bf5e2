"""The features that methods are fitted to: whose they are, their order, their random numbers, and those on the disk."""

import pytest
import torch

import train
from mocoop.backbone import load_clip
from mocoop.engine import DataManager
from mocoop.methods import build_method
from mocoop.training import run_command
from mocoop.training.batches import reproducible
from mocoop.training.few_shot_features import RunFeatures
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision


@pytest.fixture
def build(runs):
    def build(*opts, validation=None):
        cfg = run_command.setup_cfg(train.parse_args(runs.new("TipAdapter", *opts).argv()))
        data = DataManager(cfg)
        method = build_method(cfg, data.dataset.classnames, load_clip(cfg))
        loader, val = reproducible(data.train_loader_x, cfg.SEED), data.dataset.val
        given = val if validation is None else validation(data.dataset)
        precision = Precision("fp32", torch.device("cpu"))
        return RunFeatures(cfg, method, precision, loader, data.test_loader, given, StopRequest()), data.dataset

    return build


def test_views_are_those_of_the_seed_and_no_random_number_is_drawn(build):
    features, dataset = build()
    state = torch.get_rng_state()
    views, label = features.training(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert label.tolist() == [item.label for item in dataset.train_x] and views.shape[:2] == (2, len(label))
    assert not torch.equal(views[0], views[1])
    assert torch.equal(build()[0].training(2)[0], views)
    plain, _ = features.training()
    assert plain.shape[0] == 1 and (plain.norm(dim=-1) - 1).abs().min() > 1e-3  # not normalised
    image, label = features.validation()
    assert label.tolist() == [item.label for item in dataset.val] and len(image) == len(label)


def test_test_images_are_no_validation_images(build):
    assert build(validation=lambda dataset: dataset.test)[0].validation() is None
    assert build(validation=lambda dataset: [*dataset.val, dataset.test[0]])[0].validation() is None
    assert build(validation=lambda dataset: [])[0].validation() is None


def test_they_are_kept_on_disk(build, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    first, _ = build("TEST.FEATURE_CACHE", "True")
    found = first.training(2)[0], first.training()[0], first.validation()[0]
    again, _ = build("TEST.FEATURE_CACHE", "True")
    monkeypatch.setattr(again.method, "raw_image_features", None)  # nothing is encoded again
    for one, other in zip(found, (again.training(2)[0], again.training()[0], again.validation()[0])):
        assert torch.equal(one, other)
    assert len(list((tmp_path / "views").iterdir())) == 1
