"""train.py end to end on the Shapes sets with the embedded tiny CLIP: training, evaluation, resuming, bad input."""

import json
from pathlib import Path

import pytest
import torch

import train
from mocoop.results.record import read_record
from mocoop.training import run_command
from tests.shipped import small_config

ROOT = Path(__file__).parents[2]
TRAINERS = ["ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp"]
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "2"]


def command(data_root, out, trainer, *more, dataset="shapes_both", config=None):
    config = config or small_config(trainer)
    flags = ["--root", str(data_root), "--seed", "1", "--trainer", trainer, "--output-dir", str(out)]
    return [
        *flags,
        "--dataset-config-file",
        str(ROOT / f"configs/datasets/{dataset}.yaml"),
        "--config-file",
        str(config),
        *more,
    ]


def run(*args, **kwargs):
    assert train.main(command(*args, **kwargs)) == 0


def losses(out):
    """The loss of every printed step."""
    lines = [line for line in (out / "log.txt").read_text().splitlines() if line.startswith("epoch [")]
    return [float(line.split(" loss ")[1].split()[0]) for line in lines]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_train_then_evaluate_on_new_classes(tmp_path, data_root, trainer):
    out, new = tmp_path / "base", tmp_path / "new"
    run(data_root, out, trainer, *FEW)
    record = read_record(out / "result.json")
    assert (record["status"], record["method"], record["num_classes"], record["seed"]) == ("done", trainer, 40, 1)
    assert record["metrics"]["accuracy"] > 20.0  # chance is 2.5
    log = (out / "log.txt").read_text()
    assert f"* accuracy: {record['metrics']['accuracy']:.1f}%" in log and "Finish training" in log

    evaluate = ["--eval-only", "--model-dir", str(out), "--load-epoch", "2", "DATASET.SUBSAMPLE_CLASSES", "new"]
    run(data_root, new, trainer, *evaluate)
    record = read_record(new / "result.json")
    assert record["subsample_classes"] == "new" and record["metrics"]["accuracy"] > 20.0
    assert record["epoch"] == (None if trainer == "ZeroshotCLIP" else 2)
    assert (record["routing"] is not None) == (trainer == "MoCoOp")


@pytest.mark.parametrize("dataset", ["shapes_color", "shapes_shape", "shapes_both"])
@pytest.mark.parametrize("trainer", TRAINERS[1:])
def test_three_steps_lower_the_loss_of_their_batch(data_root, tmp_path, trainer, dataset):
    opts = [
        "DATASET.NUM_SHOTS",
        "1",
        "DATASET.SUBSAMPLE_CLASSES",
        "base",
        "OPTIM.LR",
        "0.02",
        "OPTIM.WARMUP_EPOCH",
        "-1",
    ]
    cfg = run_command.setup_cfg(train.parse_args(command(data_root, tmp_path, trainer, *opts, dataset=dataset)))
    run_command.set_random_seed(1)
    trained = run_command.build_trainer(cfg)
    trained.model.train()
    batch = next(iter(trained.train_loader_x))
    values = [trained.learner.step(batch, "epoch 1, batch 1").read()["loss"] for _ in range(4)]
    assert values[3] < values[0]


@pytest.mark.parametrize("trainer", TRAINERS[1:])
def test_a_resumed_run_ends_bit_identical(tmp_path, data_root, trainer):
    opts = [
        *FEW,
        "TRAIN.CHECKPOINT_FREQ",
        "1",
        "OPTIM.MAX_EPOCH",
        "3",
        "OPTIM.WARMUP_EPOCH",
        "2",
        "TEST.NO_TEST",
        "True",
    ]
    run(data_root, tmp_path / "whole", trainer, *opts)
    run(data_root, tmp_path / "broken", trainer, *opts)
    folder = tmp_path / "broken" / "prompt_learner"
    for epoch in (2, 3):
        (folder / f"model.pth.tar-{epoch}").unlink()
    (folder / "checkpoint").write_text("model.pth.tar-1\n")
    run(data_root, tmp_path / "broken", trainer, *opts)
    whole, resumed = (
        torch.load(tmp_path / name / "prompt_learner" / "model.pth.tar-3", weights_only=True)
        for name in ("whole", "broken")
    )
    assert whole["scheduler"] == resumed["scheduler"]
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key


def test_checkpoints_are_small_and_describe_themselves(tmp_path, data_root):
    run(data_root, tmp_path, "MoCoOp", *FEW, "OPTIM.MAX_EPOCH", "1")
    path = tmp_path / "prompt_learner" / "model.pth.tar-1"
    checkpoint = torch.load(path, weights_only=True)
    method = checkpoint["method"]
    assert path.stat().st_size < 500_000
    assert (method["name"], method["backbone"], len(method["classnames"])) == ("MoCoOp", "tiny", 40)
    assert method["structure"]["GROUP_NAMES"][0] == "photo"


def test_evaluation_elsewhere_keeps_the_groups_of_the_source(tmp_path, data_root):
    run(data_root, tmp_path / "a", "MoCoOp", *FEW)
    one_expert = ROOT / "configs/trainers/MoCoOp/tiny_one_expert.yaml"
    opts = ["--eval-only", "--model-dir", str(tmp_path / "a"), "TRAINER.MOCOOP.TOP_K", "1"]
    run(data_root, tmp_path / "b", "MoCoOp", *opts, dataset="shapes_both_cool", config=one_expert)
    assert read_record(tmp_path / "b" / "result.json")["routing"]["groups"][0] == "photo"


def test_best_model_by_validation(tmp_path, data_root):
    run(data_root, tmp_path, "CoOp", *FEW, "TEST.FINAL_MODEL", "best_val")
    assert (tmp_path / "prompt_learner" / "model-best.pth.tar").is_file()
    assert read_record(tmp_path / "result.json")["selection"] == "best_val"


def test_flags_are_words_even_if_they_look_like_numbers(data_root):
    argv = command(data_root, "7", "CoOp", "OPTIM.MAX_EPOCH", "3")
    cfg = run_command.setup_cfg(train.parse_args(argv))
    assert cfg.OUTPUT_DIR == "7" and cfg.DATASET.ROOT == str(data_root) and cfg.OPTIM.MAX_EPOCH == 3


def test_seed_zero_counts(data_root, tmp_path):
    cfg = run_command.setup_cfg(train.parse_args([*command(data_root, tmp_path, "CoOp"), "SEED", "0"]))
    assert cfg.SEED == 0
    flags = [flag if flag != "1" else "0" for flag in command(data_root, tmp_path, "CoOp")]
    assert run_command.setup_cfg(train.parse_args(flags)).SEED == 0


def refused(capsys, argv):
    assert train.main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ")
    return error[0]


BAD_INPUT = {
    "unknown trainer": (["--trainer", "MoCoP"], "'MoCoP', did you mean MoCoOp?"),
    "unknown dataset": (["DATASET.NAME", "Shapes"], "DATASET.NAME is 'Shapes', did you mean Shapes"),
    "unknown keys": (
        ["OPTIM.LRR", "1", "TRAINER.MOCOP.TOP_K", "1"],
        "OPTIM.LRR (did you mean OPTIM.LR?); unknown key TRAINER.MOCOP",
    ),
    "wrong value": (["OPTIM.MAX_EPOCH", "many"], "OPTIM.MAX_EPOCH cannot be 'many'"),
    "missing root": (["--root", "nowhere", "DATASET.NAME", "ImageNet"], "nowhere does not exist"),
    "gamma": (["OPTIM.GAMMA", "-1.0"], "OPTIM.GAMMA is -1.0, expected 0 or more"),
    "seed": (["SEED", "4294967296"], "SEED is 4294967296, expected less than"),
    "group name": (
        ["TRAINER.MOCOOP.GROUPS", "[['a {}.']]", "TRAINER.MOCOOP.GROUP_NAMES", "['a|b']"],
        'has a "|", which stands between names',
    ),
    "top-k": (["TRAINER.MOCOOP.TOP_K", "40"], "TOP_K is 40, expected 1 to 9"),
    "template": (
        ["TRAINER.MOCOOP.GROUPS", "[['a photo']]", "TRAINER.MOCOOP.GROUP_NAMES", "()"],
        'template "a photo" must hold "{}"',
    ),
    "image size": (["INPUT.SIZE", "(32, 32)"], "INPUT.SIZE is (32, 32), expected (64, 64) for tiny"),
    "backbone": (["--backbone", "ViT-B/17"], "MODEL.BACKBONE.NAME is 'ViT-B/17'"),
    "classes": (["DATASET.SUBSAMPLE_CLASSES", "old"], "SUBSAMPLE_CLASSES is 'old', expected one of"),
    "no checkpoint": (["--eval-only", "--model-dir", "nowhere", "--load-epoch", "3"], "model.pth.tar-3"),
    "model that nothing evaluates": (["--model-dir", "nowhere"], "got --model-dir without --eval-only; "),
    "epoch of no model": (["--load-epoch", "0"], "got --load-epoch without --eval-only; "),
    "model that is only built": (["--no-train", "--model-dir", "nowhere"], "got --model-dir without --eval-only; "),
    "evaluation that resumes": (["--eval-only", "--resume", "nowhere"], "got --resume with --eval-only, "),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_clear_line(tmp_path, data_root, capsys, monkeypatch, name):
    more, message = BAD_INPUT[name]
    argv = command(data_root, tmp_path / "out", "MoCoOp", "DATASET.NUM_SHOTS", "1")
    position = argv.index("DATASET.NUM_SHOTS")
    argv = argv + more if not more[0].startswith("--") else argv[:position] + more + argv[position:]
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, argv)


def test_as_in_coop_an_evaluation_may_say_that_it_trains_nothing(tmp_path, data_root):
    run(data_root, tmp_path, "ZeroshotCLIP", "--eval-only", "--no-train", dataset="shapes_both_cool")
    assert read_record(tmp_path / "result.json")["status"] == "done"


def test_corrupt_and_wrong_checkpoints(tmp_path, data_root, capsys):
    run(data_root, tmp_path / "coop", "CoOp", *FEW, "OPTIM.MAX_EPOCH", "1")
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "coop"), "--load-epoch", "1"]
    assert "TRAINER.NAME 'CoOp', got 'MoCoOp'" in refused(
        capsys, command(data_root, tmp_path / "x", "MoCoOp", *evaluate)
    )
    path = tmp_path / "coop" / "prompt_learner" / "model.pth.tar-1"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in refused(capsys, command(data_root, tmp_path / "y", "CoOp", *evaluate))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_corrupt_image_is_named(tmp_path, capsys, workers):
    run(tmp_path, tmp_path / "ok", "ZeroshotCLIP", dataset="shapes_both_cool")
    image = sorted((tmp_path / "shapes_both_cool" / "images").rglob("*.png"))[0]
    image.write_bytes(b"not a picture")
    argv = command(
        tmp_path, tmp_path / "out", "ZeroshotCLIP", "DATALOADER.NUM_WORKERS", workers, dataset="shapes_both_cool"
    )
    assert image.name in refused(capsys, argv)


def test_a_class_name_too_long_is_named(tmp_path, capsys):
    run(tmp_path, tmp_path / "ok", "ZeroshotCLIP", dataset="shapes_both_cool")
    split = tmp_path / "shapes_both_cool" / "split_zhou_ShapesBothCool.json"
    data = json.loads(split.read_text())
    for items in data.values():
        for item in items:
            item[2] = "red " * 74 if item[1] == 3 else item[2]
    split.write_text(json.dumps(data))
    argv = command(tmp_path, tmp_path / "out", "MoCoOp", dataset="shapes_both_cool")
    assert "expected at most 77" in refused(capsys, argv)


def test_coops_own_checkpoint_can_be_evaluated(tmp_path, data_root):
    """CoOp's files hold `ctx` beside embeddings of the class names, and say nothing of the method."""
    state = {
        "ctx": torch.randn(4, 128) * 0.02,
        "token_prefix": torch.zeros(40, 1, 128),
        "token_suffix": torch.zeros(40, 72, 128),
    }
    folder = tmp_path / "coop" / "prompt_learner"
    folder.mkdir(parents=True)
    torch.save(
        {"state_dict": state, "epoch": 50, "optimizer": None, "scheduler": None, "val_result": None},
        folder / "model.pth.tar-50",
    )
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "coop"), "--load-epoch", "50"]
    run(data_root, tmp_path / "out", "CoOp", *evaluate)
    assert read_record(tmp_path / "out" / "result.json")["epoch"] == 50
