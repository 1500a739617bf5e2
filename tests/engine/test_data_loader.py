import pytest
import torch

from mocoop.engine.lite.data import DataManager, DatasetWrapper, build_data_loader, build_transform
from mocoop.engine.lite.registry import Datum
from mocoop.errors import ConfigError, DataError
from mocoop.training.run_state import set_random_seed


def test_batches(cfg):
    manager = DataManager(cfg)
    batch = next(iter(manager.train_loader_x))
    assert sorted(batch) == ["domain", "img", "impath", "index", "label"]
    assert batch["img"].shape == (5, 3, 16, 16) and batch["img"].dtype == torch.float32
    for path, label, domain, index in zip(*(batch[key] for key in ("impath", "label", "domain", "index"))):
        item = manager.dataset.train_x[index]
        assert (item.impath, item.label, item.domain) == (path, label, domain)


def test_manager(cfg, capsys):
    manager = DataManager(cfg)
    assert (manager.num_classes, manager.lab2cname) == (3, {0: "red", 1: "green", 2: "blue"})
    assert [len(loader) for loader in (manager.train_loader_x, manager.val_loader, manager.test_loader)] == [4, 2, 4]
    output = capsys.readouterr().out
    assert "Dataset    Colours\n# classes  3\n# train_x  21\n# val      6\n# test     15\n" in output


@pytest.mark.parametrize("batch_size, batches", [(5, 4), (21, 1), (22, 1)])
def test_only_training_drops_an_incomplete_batch_and_never_the_only_one(cfg, batch_size, batches):
    manager = DataManager(cfg)
    images = manager.dataset.train_x
    tfm = build_transform(cfg, is_train=False)
    assert len(build_data_loader(cfg, "RandomSampler", images, batch_size, tfm)) == batches
    testing = build_data_loader(cfg, "SequentialSampler", images, batch_size, tfm, is_train=False)
    assert sum(len(batch["label"]) for batch in testing) == 21


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_repeat_with_the_seed(cfg, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    manager = DataManager(cfg)
    epochs = []
    for _ in range(2):
        set_random_seed(3)
        epochs.append(torch.cat([batch["img"] for batch in manager.train_loader_x]))
    assert torch.equal(*epochs)
    assert not torch.equal(epochs[0], torch.cat([batch["img"] for batch in manager.train_loader_x]))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_line_naming_the_file(cfg, tmp_path, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    tfm = build_transform(cfg, is_train=False)
    images = [*DataManager(cfg).dataset.train_x, Datum(str(path))]
    loader = build_data_loader(cfg, "SequentialSampler", images, 1, tfm, is_train=False)
    seen = []
    with pytest.raises(DataError) as caught:
        for batch in loader:
            seen.append(batch["index"].item())
    assert seen == list(range(21))
    assert str(caught.value).startswith(f'cannot read image "{path}": ')
    assert "\n" not in str(caught.value)


def test_images_are_transformed(cfg, image_root):
    item = Datum(str(image_root / "train" / "red_0.png"))
    for is_train in (True, False):
        transform = build_transform(cfg, is_train=is_train)
        assert DatasetWrapper(cfg, [item], transform, is_train)[0]["img"].shape == (3, 16, 16)


def test_empty_splits_and_unknown_samplers(cfg):
    tfm = build_transform(cfg)
    with pytest.raises(DataError, match="Colours: no image to evaluate on"):
        build_data_loader(cfg, "SequentialSampler", [], 5, tfm, is_train=False)
    images = DataManager(cfg).dataset.train_x
    with pytest.raises(ConfigError, match='SAMPLER: got "Random", expected one of RandomSampler, SequentialSampler'):
        build_data_loader(cfg, "Random", images, 5, tfm)
