"""Training images that are decoded once: the same batches to the bit, within the limit, shared among workers."""

import multiprocessing
import pickle

import pytest
import torch
from PIL import Image
from yacs.config import CfgNode

from mocoop.engine.lite import data
from mocoop.engine.lite.data import DataManager, DatasetWrapper, ReadableErrorsLoader, settle_workers
from mocoop.engine.lite.decoded import DecodedImages
from mocoop.images import read_image
from mocoop.training.batches import reproducible
from mocoop.training.run_state import set_random_seed

TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")


@pytest.fixture
def few_shot(cfg):
    cfg.DATASET.NUM_SHOTS = 16
    cfg.INPUT.TRANSFORMS = TRANSFORMS
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 7  # of 21 images: none is dropped
    return cfg


def epochs(cfg, decoded, workers, count=3):
    """What `count` epochs load, and the loader's data set."""
    cfg.DATALOADER.DECODED_MB, cfg.DATALOADER.NUM_WORKERS = decoded, workers
    set_random_seed(5)
    loader = reproducible(DataManager(cfg).train_loader_x, stream=7)
    batches = []
    for epoch in range(count):
        loader.batch_sampler.start_at(epoch)
        batches.append(list(loader))
    return batches, loader


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_to_the_bit(few_shot, workers):
    plain, loader = epochs(few_shot, decoded=0, workers=0)
    kept, keeping = epochs(few_shot, decoded=8, workers=workers)
    dataset = keeping.dataset.dataset
    pixels = sum(3 * width * height for width, height in (Image.open(i.impath).size for i in dataset.data_source))
    assert loader.dataset.dataset.decoded is None and dataset.decoded.used == pixels
    for before, after in zip(plain, kept, strict=True):
        assert [batch["impath"] for batch in before] == [batch["impath"] for batch in after]
        assert all(torch.equal(a["img"], b["img"]) for a, b in zip(before, after, strict=True))
    assert not torch.equal(kept[0][0]["img"], kept[1][0]["img"])


def test_each_image_is_decoded_once_by_whichever_worker(few_shot, monkeypatch):
    decoded = multiprocessing.Value("i", 0)

    def counting(*args):
        with decoded.get_lock():
            decoded.value += 1
        return read_image(*args)

    monkeypatch.setattr(data, "read_image", counting)
    epochs(few_shot, decoded=8, workers=2, count=4)
    assert decoded.value == 21
    epochs(few_shot, decoded=0, workers=2, count=4)
    assert decoded.value == 21 + 4 * 21


def test_only_few_shot_training_keeps_images(few_shot):
    manager = DataManager(few_shot)
    assert manager.train_loader_x.dataset.decoded is None  # the engine's defaults have no such key
    few_shot.DATALOADER.DECODED_MB = 8
    manager = DataManager(few_shot)
    assert manager.train_loader_x.dataset.decoded and manager.test_loader.dataset.decoded is None
    few_shot.DATASET.NUM_SHOTS = -1
    assert DataManager(few_shot).train_loader_x.dataset.decoded is None


def test_what_does_not_fit_is_not_kept():
    kept = DecodedImages(3, limit=1000)
    wide, small = Image.effect_noise((20, 15), 50).convert("RGB"), Image.effect_noise((5, 4), 50).convert("RGB")
    for number, image in enumerate((wide, wide, small)):
        kept.keep(number, image)
        kept.keep(number, Image.new("RGB", image.size))  # it is kept once
    assert kept.used == 3 * 20 * 15 + 3 * 5 * 4
    assert kept.get(1) is None
    for number, image in ((0, wide), (2, small)):
        assert kept.get(number).size == image.size and kept.get(number).tobytes() == image.tobytes()
    kept.get(0).putpixel((0, 0), (1, 2, 3))  # a copy
    assert kept.get(0).tobytes() == wide.tobytes()


def test_memory_that_the_system_does_not_promise_is_not_needed(few_shot, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(data, "DecodedImages", refuse)
    few_shot.DATALOADER.DECODED_MB = 8
    assert DataManager(few_shot).train_loader_x.dataset.decoded is None
    assert "no room for DATALOADER.DECODED_MB" in caplog.text


def test_a_pickled_dataset_keeps_nothing(few_shot):
    few_shot.DATALOADER.DECODED_MB = 8
    dataset = DatasetWrapper(few_shot, DataManager(few_shot).dataset.train_x, read_image, is_train=True)
    assert dataset.decoded and pickle.loads(pickle.dumps(dataset)).decoded is None


def test_workers_stay_and_draw_what_new_ones_would(few_shot):
    few_shot.DATALOADER.NUM_WORKERS = 2
    loader = DataManager(few_shot).train_loader_x
    options = {"batch_size": 5, "shuffle": True, "num_workers": 2}
    orders, pids = [], []
    for persistent in (False, True):
        set_random_seed(11)
        loader = ReadableErrorsLoader(Pids(), **options, persistent_workers=persistent)
        seen = [[tuple(row) for batch in loader for row in batch.tolist()] for _ in range(3)]
        orders.append([[number for number, _ in epoch] for epoch in seen] + [torch.rand(1).item()])
        pids.append(len({pid for epoch in seen for _, pid in epoch}))
    assert orders[0] == orders[1] and pids == [6, 2]
    loader.end_workers()
    assert not multiprocessing.active_children()


class Pids(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.tensor([index, multiprocessing.current_process().pid])


def test_the_number_of_workers_is_what_is_given_or_that_of_the_cores(monkeypatch):
    def settled(given, cores):
        monkeypatch.setattr(data.os, "sched_getaffinity", lambda pid: range(cores), raising=False)
        cfg = CfgNode({"DATALOADER": {"NUM_WORKERS": given}})
        cfg.freeze()
        settle_workers(cfg)
        assert cfg.is_frozen()
        return cfg.DATALOADER.NUM_WORKERS

    assert [settled(-1, cores) for cores in (1, 2, 6, 64)] == [0, 2, 6, 8]
    assert [settled(given, 2) for given in (0, 4, 32)] == [0, 4, 32]
