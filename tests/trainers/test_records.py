"""A record says what was tested, and nothing untrained is recorded as a result."""

import json

import pytest

import train
from mocoop.results.record import FILE_NAME, read_record
from mocoop.training.checkpoint import load_checkpoint
from tests.trainers.test_train import command
from tests.training.test_run_folder import refused

TINY = ["DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.WARMUP_EPOCH", "-1"]
NEW = ["DATASET.SUBSAMPLE_CLASSES", "new"]


@pytest.fixture
def start(few_root, tmp_path):
    """Runs train.py in a folder of tmp_path, and returns the record that it leaves."""

    def start(name, trainer, *opts, flags=()):
        argv = command(few_root, tmp_path / name, trainer)
        position = argv.index("--output-dir")
        assert train.main([*argv[:position], *flags, *argv[position:], *TINY, *opts]) == 0
        return read_record(tmp_path / name / FILE_NAME)

    return start


def test_an_untrained_method_is_not_evaluated(few_root, tmp_path, capsys):
    argv = [*command(few_root, tmp_path, "CoOp", *TINY)]
    line = refused(capsys, ["--eval-only", *argv])
    assert "CoOp learns, and --model-dir is empty" in line
    assert json.loads((tmp_path / FILE_NAME).read_text())["status"] == "failed"


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_no_epoch_is_no_training(few_root, tmp_path, capsys, epochs):
    line = refused(capsys, command(few_root, tmp_path, "CoOp", *TINY, "OPTIM.MAX_EPOCH", epochs))
    assert f"OPTIM.MAX_EPOCH is {epochs}, expected 1 or more" in line


def test_base_and_new_classes_together_are_for_tests(few_root, tmp_path, capsys):
    line = refused(capsys, command(few_root, tmp_path, "CoOp", *TINY, "DATASET.SUBSAMPLE_CLASSES", "base+new"))
    assert "DATASET.SUBSAMPLE_CLASSES is base+new, which is for tests" in line


def test_contexts_of_each_class_are_not_used_for_others(few_root, start, tmp_path, capsys):
    """A gap that says why, in a test among all names as in one on new classes."""
    own = ["TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", "", "OPTIM.MAX_EPOCH", "1"]
    start("run", "CoOp", *own)
    for classes in ("new", "base+new"):
        argv = command(few_root, tmp_path / classes, "CoOp", *TINY, *own, "DATASET.SUBSAMPLE_CLASSES", classes)
        line = refused(capsys, ["--eval-only", "--model-dir", str(tmp_path / "run"), *argv])
        reason = "has a context for each trained class (TRAINER.COOP.CSC), of which there are 6, and none for other"
        assert reason in line and reason in json.loads((tmp_path / classes / FILE_NAME).read_text())["error"]


def test_selection_and_weights_are_those_that_were_tested(start, tmp_path):
    opts = ["OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1", "OPTIM.LR", "0.5"]
    trained = start("run", "CoOp", *opts, "TEST.FINAL_MODEL", "best_val")
    assert trained["selection"] == "best_val"

    model = ["--eval-only", "--model-dir", str(tmp_path / "run")]
    found = {}
    for epoch in ("2", "3"):
        found[epoch] = start(f"epoch{epoch}", "CoOp", *opts, *NEW, flags=[*model, "--load-epoch", epoch])
    best = start("best", "CoOp", *opts, *NEW, flags=model)
    assert [record["selection"] for record in (found["2"], found["3"], best)] == ["epoch", "last_step", "best_val"]
    assert [found[epoch]["epoch"] for epoch in found] == [2, 3]
    assert found["2"]["weights_sha256"] != found["3"]["weights_sha256"]
    assert best["weights_sha256"] == trained["weights_sha256"] and best["epoch"] == trained["epoch"]


def test_a_retrained_model_is_tested_again(start, few_root, tmp_path, capsys):
    opts, model = ["OPTIM.MAX_EPOCH", "1", "OPTIM.LR", "0.5"], ["--eval-only", "--model-dir", str(tmp_path / "run")]
    start("run", "CoOp", *opts)
    first = start("new", "CoOp", *opts, *NEW, flags=model)
    capsys.readouterr()
    assert start("new", "CoOp", *opts, *NEW, flags=model) == first
    assert "finished already" in capsys.readouterr().out

    start("other", "CoOp", *opts, "SEED", "2")
    checkpoint = "prompt_learner/model.pth.tar-1"
    (tmp_path / "run" / checkpoint).write_bytes((tmp_path / "other" / checkpoint).read_bytes())
    second = start("new", "CoOp", *opts, *NEW, flags=model)
    assert "finished already" not in capsys.readouterr().out
    assert second["weights_sha256"] != first["weights_sha256"]


@pytest.mark.parametrize(
    "trainer, key, trained, other",
    [
        ("CoOp", "CLASS_TOKEN_POSITION", "middle", "end"),
        ("MoCoOp", "TOP_K", "3", "2"),
        ("MoCoOp", "CORRECTION", "none", "shared"),
    ],
)
def test_what_gives_weights_their_meaning_wins_over_the_evaluations_config(
    start, tmp_path, capsys, trainer, key, trained, other
):
    key = f"TRAINER.{trainer.upper()}.{key}"
    opts = ["OPTIM.MAX_EPOCH", "1", "OPTIM.LR", "0.1"]
    start("run", trainer, *opts, key, trained)
    model = ["--eval-only", "--model-dir", str(tmp_path / "run")]
    same = start("same", trainer, *opts, *NEW, key, trained, flags=model)
    assert "Keeping the structure" not in capsys.readouterr().out
    kept = start("kept", trainer, *opts, *NEW, key, other, flags=model)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Keeping the structure" in line]
    assert len(lines) == 1 and f"{key.rpartition('.')[2]} {trained}" in lines[0]
    assert kept["metrics"] == same["metrics"]


def test_a_record_says_precisions_and_knowledge(start):
    opts = ["OPTIM.MAX_EPOCH", "1", "TRAINER.MOCOOP.PREC", "bf16", "TRAINER.MOCOOP.TEXT_LOSS_CLASSES", "all"]
    found = start("run", "MoCoOp", *opts)
    assert found["precision"] == {"train": "bf16", "test": "fp32"}
    assert found["knowledge"] == ["groups of templates", "names of the new classes"]
    found = start(
        "trained as tested", "MoCoOp", "OPTIM.MAX_EPOCH", "1", "TRAINER.MOCOOP.PREC", "bf16", "TEST.PREC", "train"
    )
    assert found["precision"] == {"train": "bf16", "test": "bf16"}


def test_a_checkpoint_says_all_that_it_holds(start, tmp_path):
    start("run", "CoOp", "OPTIM.MAX_EPOCH", "1")
    assert set(load_checkpoint(tmp_path / "run/prompt_learner/model.pth.tar-1")) == {
        "state_dict", "extra_state", "epoch", "epochs", "method", "optimizer", "scheduler", "scaler", "best_result",
        "val_result", "random_state", "stream", "train_seconds", "manifest_sha256",
    }  # fmt: skip
