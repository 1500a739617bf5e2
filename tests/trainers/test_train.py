"""train.py end to end on the Shapes sets with the embedded tiny CLIP: training, evaluation, resuming, bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from mocoop.results.record import read_record
from mocoop.training import run_command
from tests.shipped import small_config

ROOT = Path(__file__).parents[2]
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "2"]


def command(data_root, out, trainer, *more, dataset="shapes_both", config=None):
    config = config or small_config(trainer)
    flags = ["--root", str(data_root), "--seed", "1", "--trainer", trainer, "--output-dir", str(out)]
    files = ["--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml"), "--config-file", str(config)]
    return [*flags, *files, *more]


def run(*args, **kwargs):
    assert train.main(command(*args, **kwargs)) == 0


def losses(out):
    """The loss of every printed step."""
    lines = [line for line in (out / "log.txt").read_text().splitlines() if line.startswith("epoch [")]
    return [float(line.split(" loss ")[1].split()[0]) for line in lines]


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "MoCoOp"])
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


@pytest.mark.parametrize("trainer", ["CoOp", "CoCoOp", "MoCoOp"])
def test_three_steps_lower_the_loss_of_their_batch(data_root, tmp_path, trainer):
    few = ["DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base"]
    opts = [*few, "OPTIM.LR", "0.02", "OPTIM.WARMUP_EPOCH", "-1"]
    cfg = run_command.setup_cfg(train.parse_args(command(data_root, tmp_path, trainer, *opts)))
    run_command.set_random_seed(1)
    trained = run_command.build_trainer(cfg)
    trained.model.train()
    batch = next(iter(trained.train_loader_x))
    values = [trained.learner.step(batch, "epoch 1, batch 1").read()["loss"] for _ in range(4)]
    assert values[3] < values[0]


def test_checkpoints_are_small_and_describe_themselves(trained_runs):
    path = trained_runs.of("mocoop") / "prompt_learner" / "model.pth.tar-1"
    method = torch.load(path, weights_only=True)["method"]
    assert path.stat().st_size < 500_000
    assert (method["name"], method["backbone"], len(method["classnames"])) == ("MoCoOp", "tiny", 40)
    assert method["structure"]["GROUP_NAMES"][0] == "photo"


def test_evaluation_elsewhere_keeps_the_groups_of_the_source(tmp_path, data_root, trained_runs):
    one_expert = ROOT / "configs/trainers/MoCoOp/tiny_one_expert.yaml"
    opts = ["--eval-only", "--model-dir", str(trained_runs.of("mocoop")), "TRAINER.MOCOOP.TOP_K", "1"]
    run(data_root, tmp_path, "MoCoOp", *opts, dataset="shapes_both_cool", config=one_expert)
    assert read_record(tmp_path / "result.json")["routing"]["groups"][0] == "photo"


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
def test_bad_input_is_one_clear_line(tmp_path, few_root, capsys, monkeypatch, name):
    more, message = BAD_INPUT[name]
    argv = command(few_root, tmp_path / "out", "MoCoOp", "DATASET.NUM_SHOTS", "1")
    position = argv.index("DATASET.NUM_SHOTS")
    argv = argv + more if not more[0].startswith("--") else argv[:position] + more + argv[position:]
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, argv)


def test_as_in_coop_an_evaluation_may_say_that_it_trains_nothing(tmp_path, few_root):
    run(few_root, tmp_path, "ZeroshotCLIP", "--eval-only", "--no-train")
    assert read_record(tmp_path / "result.json")["status"] == "done"


def test_corrupt_and_wrong_checkpoints(tmp_path, few_root, runs, capsys):
    shutil.copytree(runs.reference("CoOp"), tmp_path / "coop")
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "coop"), "--load-epoch", "4"]
    argv = command(few_root, tmp_path / "x", "MoCoOp", *evaluate)
    assert "TRAINER.NAME 'CoOp', got 'MoCoOp'" in refused(capsys, argv)
    path = tmp_path / "coop" / "prompt_learner" / "model.pth.tar-4"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in refused(capsys, command(few_root, tmp_path / "y", "CoOp", *evaluate))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_corrupt_image_is_named(tmp_path, lent_root, capsys, workers):
    image = sorted((lent_root / "shapes_both" / "images").rglob("test_*.png"))[0]
    image.write_bytes(b"not a picture")
    argv = command(lent_root, tmp_path / "out", "ZeroshotCLIP", "DATALOADER.NUM_WORKERS", workers)
    assert image.name in refused(capsys, argv)


def test_a_class_name_too_long_is_named(tmp_path, lent_root, capsys):
    split = lent_root / "shapes_both" / "split_zhou_ShapesBoth.json"
    data = json.loads(split.read_text())
    for items in data.values():
        for item in items:
            item[2] = "red " * 74 if item[1] == 3 else item[2]
    split.write_text(json.dumps(data))
    assert "expected at most 77" in refused(capsys, command(lent_root, tmp_path / "out", "MoCoOp"))


def test_coops_own_checkpoint_can_be_evaluated(tmp_path, few_root):
    """CoOp's files hold `ctx` beside embeddings of the class names, and say nothing of the method."""
    prefix, suffix = torch.zeros(12, 1, 128), torch.zeros(12, 72, 128)
    state = {"ctx": torch.randn(4, 128) * 0.02, "token_prefix": prefix, "token_suffix": suffix}
    folder = tmp_path / "coop" / "prompt_learner"
    folder.mkdir(parents=True)
    torch.save(
        {"state_dict": state, "epoch": 50, "optimizer": None, "scheduler": None, "val_result": None},
        folder / "model.pth.tar-50",
    )
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "coop"), "--load-epoch", "50"]
    run(few_root, tmp_path / "out", "CoOp", *evaluate)
    assert read_record(tmp_path / "out" / "result.json")["epoch"] == 50


def test_a_run_waits_for_no_library_that_only_others_need():
    slow = "sklearn scipy matplotlib open_clip transformers tensorboard jinja2 onnx gradio".split()
    code = f"import sys, train; train.load(); print([name for name in {slow} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
