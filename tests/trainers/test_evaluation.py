"""How a trainer evaluates: classes once per class set, images once for all runs that test them."""

import pytest
import torch

import train
from mocoop.results.record import read_record
from mocoop.training import run_command
from tests.trainers.test_train import command, run

EVALUATE = ["DATASET.SUBSAMPLE_CLASSES", "new", "DATALOADER.TEST.BATCH_SIZE", "4"]


def built(few_root, out, trainer, *more):
    cfg = run_command.setup_cfg(train.parse_args(command(few_root, out, trainer, *EVALUATE, *more)))
    run_command.set_random_seed(1)
    return run_command.build_trainer(cfg)


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "CoOp", "MoCoOp"])
def test_the_text_tower_runs_once_per_class_set(few_root, tmp_path, trainer):
    trained = built(few_root, tmp_path, trainer)
    assert len(trained.test_loader) > 5
    if trainer == "MoCoOp":
        trained.model.prototypes()  # of hand-written prompts, which the router is judged by: encoded once, too
    calls = trained.model.text_encoder.calls
    trained.test()
    assert trained.model.text_encoder.calls == calls + 1
    trained.test()
    assert trained.model.text_encoder.calls == calls + 1


def test_cocoop_encodes_a_batch_of_images_at_once(few_root, tmp_path):
    trained = built(few_root, tmp_path, "CoCoOp")
    calls = trained.model.text_encoder.calls
    trained.test()
    assert trained.model.text_encoder.calls == calls + len(trained.test_loader)


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "CoOp"])
def test_cached_features_give_the_same_result(few_root, tmp_path, monkeypatch, trainer):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    argv = ["DATASET.SUBSAMPLE_CLASSES", "new", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1"]
    off = ["TEST.FEATURE_CACHE", "False"]
    run(few_root, tmp_path / "plain", trainer, *argv, "DATALOADER.TEST.BATCH_SIZE", "7", *off)
    for name in ("first", "second"):
        run(few_root, tmp_path / name, trainer, *argv, "DATALOADER.TEST.BATCH_SIZE", "7")  # 24 images: 3 at the end
    results = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("plain", "first", "second")]
    assert results[0] == results[1] == results[2]
    zero_shot = [read_record(tmp_path / name / "result.json")["zero_shot"] for name in ("plain", "first", "second")]
    assert zero_shot[0] == zero_shot[1] == zero_shot[2]
    for name, found in (("first", 0), ("second", 24)):
        assert f"image features: {found} of 24 from the cache" in (tmp_path / name / "log.txt").read_text()


UNCHECKED = ["MODEL.BACKBONE.CHECK_INPUT", "False"]


def test_a_changed_picture_transform_or_weight_misses(lent_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))

    def fresh(*more):
        out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        run(lent_root, out, "ZeroshotCLIP", *more)
        line = [line for line in (out / "log.txt").read_text().splitlines() if "from the cache" in line][0]
        return int(line.split()[2])

    assert fresh() == 0
    images = sorted((lent_root / "shapes_both" / "images").rglob("test_*.png"))
    assert fresh() == len(images)
    before = images[0].read_bytes()
    images[0].write_bytes(images[1].read_bytes())
    assert fresh() == 0
    images[0].write_bytes(before)
    assert fresh() == len(images)  # the bytes of a list that is known already
    assert fresh("DATALOADER.TEST.BATCH_SIZE", "16") == 0  # other batches may round differently
    assert fresh("INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]", *UNCHECKED) == 0
    assert fresh("INPUT.INTERPOLATION", "bilinear", *UNCHECKED) == 0


VIT = ["MODEL.BACKBONE.NAME", "tiny-vit", "DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1"]
VIT += ["DATALOADER.TEST.BATCH_SIZE", "4"]


def test_tuned_layer_norms_the_zero_shot_check_and_the_feature_cache(few_root, tmp_path, monkeypatch, caplog):
    """The shipped default on a ViT: one text pass for the test, nothing changed by it, nothing cached."""
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    caplog.set_level("INFO", "mocoop")
    records = []
    for name, cached in (("plain", "False"), ("cached", "True")):
        argv = command(few_root, tmp_path / name, "MoCoOp", *VIT, "TEST.FEATURE_CACHE", cached)
        run_command.set_random_seed(1)
        trainer = run_command.build_trainer(run_command.setup_cfg(train.parse_args(argv)))
        before, calls = list(trainer.model.learned_state()), []
        monkeypatch.setattr(trainer.model, "encode_classes", _counted(trainer.model.encode_classes, calls))
        trainer.train()
        assert len(trainer.test_loader) > 5 and len(calls) == 1
        assert list(trainer.model.learned_state()) == before
        assert any(name.startswith("layer_norms.") for name in before)
        records.append(read_record(tmp_path / name / "result.json"))
    assert records[0]["metrics"] == records[1]["metrics"] and records[0]["zero_shot"] == records[1]["zero_shot"]
    assert not (tmp_path / "cache" / "images").exists()
    reason = "nothing is cached, MoCoOp takes more of an image than CLIP's own feature"
    assert caplog.text.count(reason) == 1


def _counted(function, calls):
    def counted():
        calls.append(function)
        return function()

    return counted


def test_the_zero_shot_check_sees_clips_own_tower(few_root, tmp_path):
    argv = command(few_root, tmp_path, "MoCoOp", *VIT, "OPTIM.LR", "0.3", "TEST.ZERO_SHOT_IMAGES", "100000")
    trainer = run_command.build_trainer(run_command.setup_cfg(train.parse_args(argv)))
    trainer.train()
    run(few_root, tmp_path / "zero", "ZeroshotCLIP", "MODEL.BACKBONE.NAME", "tiny-vit")
    found = read_record(tmp_path / "result.json")
    assert found["zero_shot"]["accuracy"] == read_record(tmp_path / "zero/result.json")["metrics"]["accuracy"]
    assert found["zero_shot"]["method_accuracy"] == pytest.approx(found["metrics"]["accuracy"])


def test_running_out_of_gpu_memory_halves_the_chunk_and_goes_on(few_root, tmp_path, monkeypatch):
    opts = ["DATASET.NUM_SHOTS", "1", "TRAINER.COOP.TEXT_CHUNK", "8"]
    trained = built(few_root, tmp_path, "CoOp", *opts)
    loss, failures = trained.model.loss, iter([True, True, False])

    def loss_out_of_memory(*args):
        if next(failures):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss(*args)

    monkeypatch.setattr(trained.model, "loss", loss_out_of_memory)
    assert trained.learner.step(next(iter(trained.train_loader_x)), "epoch 1, batch 1").read()["loss"] > 0
    assert trained.model.text_encoder.tower.chunk == 2
