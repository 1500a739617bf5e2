"""The features that methods are fitted to: whose they are, their order, their random numbers, and those on the disk."""

import os
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import train
from mocoop.backbone import load_clip
from mocoop.engine import DataManager
from mocoop.files import file_sha256
from mocoop.methods import build_method
from mocoop.training import features, run_command
from mocoop.training.batches import reproducible
from mocoop.training.features import RunFeatures, files_sha256, raw_features
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
    found, dataset = build()
    state = torch.get_rng_state()
    views, label = found.training(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert label.tolist() == [item.label for item in dataset.train_x] and views.shape[:2] == (2, len(label))
    assert not torch.equal(views[0], views[1])
    assert torch.equal(build()[0].training(2)[0], views)
    plain, _ = found.training()
    assert plain.shape[0] == 1 and (plain.norm(dim=-1) - 1).abs().min() > 1e-3  # not normalised
    image, label = found.validation()
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


def test_files_are_hashed_again_only_when_they_have_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        Path(path).write_text(path)
    hashed = []
    monkeypatch.setattr(features, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    first = files_sha256(paths)
    assert first == [file_sha256(path) for path in paths]
    assert files_sha256(paths) == first and len(hashed) == 4  # they were written just now, and may be again
    monkeypatch.setattr(features, "SETTLED_SECONDS", 0.0)
    files_sha256(paths)
    assert files_sha256(paths) == first and len(hashed) == 6
    times = os.stat(paths[0])
    Path(paths[0]).write_text(paths[1])  # as long as before, and with its old time
    os.utime(paths[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files_sha256(paths) == [first[1], first[1]]
    assert files_sha256(paths[::-1]) == [first[1], first[1]]


def test_images_in_another_order_than_the_list_are_not_kept(build, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    run, _ = build()
    loader = DataLoader(run.test_data, batch_size=5, shuffle=True)
    batches = list(raw_features(loader, run.method, run.precision, use_cache=True))
    assert sum(len(found) for found, _ in batches) == len(run.test_data)
    assert not (tmp_path / "images").exists()


def test_random_numbers_go_on_alike_whether_features_were_kept_or_not(build, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    run, _ = build()
    loader, states = DataLoader(run.test_data, batch_size=5), []
    for use_cache in (False, True, True):
        torch.manual_seed(0)
        for _ in raw_features(loader, run.method, run.precision, use_cache):
            pass
        states.append(torch.get_rng_state())
    assert (tmp_path / "images").exists() and all(torch.equal(state, states[0]) for state in states)
