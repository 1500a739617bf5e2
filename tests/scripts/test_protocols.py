"""The scripts of a protocol, on made-up configurations: what they would run, what they refuse, and their shell."""

import os
import shlex
import shutil
import signal
import subprocess
from unittest import mock

import pytest

from mocoop.protocols.plan import completed, list_runs
from mocoop.protocols.script import read_request
from tests.scripts.checkout import METHODS, REPOSITORY, Checkout


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def planned(checkout, script: str, *arguments, **settings) -> list[str]:
    """The command lines of scripts/<METHOD>/<protocol>.sh, as `checkout.lines` gives them, without starting it."""
    method, _, name = script.removesuffix(".sh").partition("/")
    with mock.patch.dict(os.environ, {key: str(value) for key, value in settings.items()}, clear=True):
        request = read_request(name, "", (METHODS[method], *map(str, arguments)))
        runs = list_runs(completed(request, checkout.root, str(checkout.root)), checkout.root)
    return [shlex.join(("train.py", *run.argv)) for run in runs]


def options(line: str) -> dict:
    """The command line as {flag or key: value}; --eval-only has no value."""
    words = shlex.split(line)
    assert words[0].endswith("train.py")
    words = [word for word in words[1:] if word != "--eval-only"]
    return dict(zip(words[::2], words[1::2])) | ({"--eval-only": True} if "--eval-only" in line else {})


def option(lines, flag):
    return [options(line)[flag] for line in lines]


def test_training_command_in_full(checkout):
    (line,) = planned(checkout, "coop/base2new_train.sh", "caltech101", 2)
    assert line == (
        "train.py --root data --seed 2 --trainer CoOp --dataset-config-file configs/datasets/caltech101.yaml "
        "--config-file configs/trainers/CoOp/vit_b16_ctxv1.yaml "
        "--output-dir output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed2 "
        "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base"
    )


def test_testing_command_in_full(checkout):
    model = "output/base2new/train_base/caltech101/shots_16/MoCoOp/released/seed1"
    (checkout.root / model).mkdir(parents=True)
    (line,) = checkout.lines("mocoop/base2new_test.sh", "caltech101", 1)
    assert line == (
        "train.py --root data --seed 1 --trainer MoCoOp --dataset-config-file configs/datasets/caltech101.yaml "
        "--config-file configs/trainers/MoCoOp/released/caltech101.yaml "
        "--output-dir output/base2new/test_new/caltech101/shots_16/MoCoOp/released/seed1 "
        f"--eval-only --model-dir {model} --load-epoch 52 DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES new"
    )


def test_seeds_come_from_the_arguments_or_the_environment_or_are_1_2_3(checkout):
    for folder, trainer in METHODS.items():
        lines = planned(checkout, f"{folder}/base2new_train.sh", "imagenet")
        assert option(lines, "--seed") == ["1", "2", "3"] and set(option(lines, "--trainer")) == {trainer}
    assert option(planned(checkout, "coop/base2new_train.sh", "imagenet", 0, 7), "--seed") == ["0", "7"]
    assert option(planned(checkout, "coop/base2new_train.sh", "imagenet", SEEDS="4 5"), "--seed") == ["4", "5"]


@pytest.mark.parametrize(
    "script, dataset, cfg",
    [
        ("mocoop/base2new_train.sh", "birds", "MoCoOp/released/default"),  # own images
        ("coop/base2new_train.sh", "caltech101", "CoOp/vit_b16_ctxv1"),
        ("coop/base2new_train.sh", "imagenet", "CoOp/vit_b16_ep50_ctxv1"),
        ("coop/base2new_train.sh", "shapes_both", "CoOp/tiny"),
        ("cocoop/base2new_train.sh", "imagenet", "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1"),
        ("mocoop/base2new_train.sh", "imagenet", "MoCoOp/released/imagenet"),
        ("mocoop/base2new_train.sh", "shapes_both", "MoCoOp/tiny"),
        ("zsclip/base2new_train.sh", "imagenet", "ZeroshotCLIP/vit_b16"),
        ("zsclip/base2new_test.sh", "shapes_both", "ZeroshotCLIP/tiny"),
    ],
)
def test_published_configurations_are_chosen(checkout, script, dataset, cfg):
    checkout.write("configs/datasets/birds.yaml", "DATASET:\n  NAME: Folder\n")
    checkout.write("configs/trainers/MoCoOp/released/default.yaml", "OPTIM:\n  MAX_EPOCH: 7\n")
    (line,) = planned(checkout, script, dataset, 1)
    assert options(line)["--config-file"] == f"configs/trainers/{cfg}.yaml"


def test_coop_few_shot_configurations_follow_the_number_of_shots(checkout):
    lines = planned(checkout, "coop/few_shot.sh", "caltech101", SEEDS=1)
    assert option(lines, "DATASET.NUM_SHOTS") == ["1", "2", "4", "8", "16"]
    names = [path.split("/")[-1] for path in option(lines, "--config-file")]
    assert names == [f"vit_b16{suffix}.yaml" for suffix in ("_ep50", "_ep100", "_ep100", "", "")]
    assert option(lines, "--output-dir")[1] == "output/few_shot/train_all/caltech101/shots_2/CoOp/vit_b16_ep100/seed1"
    assert set(option(lines, "DATASET.SUBSAMPLE_CLASSES")) == {"all"}
    lines = planned(checkout, "coop/few_shot.sh", "imagenet", 4, 16, SEEDS=1)  # always 50 epochs
    assert set(option(lines, "--config-file")) == {"configs/trainers/CoOp/vit_b16_ep50.yaml"}
    assert option(lines, "DATASET.NUM_SHOTS") == ["4", "16"]


@pytest.mark.parametrize("protocol", ["xd", "dg"])
def test_transfer_tests_the_model_of_the_source_with_the_sources_configuration(checkout, protocol):
    (trained,) = planned(checkout, "mocoop/xd_train.sh", 1)
    model = options(trained)["--output-dir"]
    assert model == "output/xd/train/imagenet/shots_16/MoCoOp/released/seed1"
    (line,) = planned(checkout, f"mocoop/{protocol}_test.sh", "imagenet_sketch", 1)
    tested = options(line)
    assert tested["--model-dir"] == model and tested["--load-epoch"] == "11"
    assert tested["--config-file"] == "configs/trainers/MoCoOp/released/imagenet.yaml"
    assert tested["--dataset-config-file"] == "configs/datasets/imagenet_sketch.yaml"
    assert tested["--output-dir"] == f"output/{protocol}/test/imagenet_sketch/shots_16/MoCoOp/released/seed1"
    assert tested["DATASET.SUBSAMPLE_CLASSES"] == "all"


@pytest.mark.parametrize("script", ["base2new_train", "base2new_test", "xd_test", "dg_test"])
def test_zero_shot_is_only_tested_and_needs_no_model(checkout, script):
    (line,) = planned(checkout, f"zsclip/{script}.sh", "caltech101", 1)
    found = options(line)
    assert found["--eval-only"] and "--model-dir" not in found and "--load-epoch" not in found
    assert "/shots_0/" in found["--output-dir"] and found["DATASET.NUM_SHOTS"] == "0"


def test_settings_change_folders_and_configuration(checkout, tmp_path):
    settings = {"DATA": tmp_path, "OUTPUT": tmp_path / "out", "SHOTS": 4, "CFG": "vit_b16"}
    (line,) = planned(checkout, "coop/base2new_train.sh", "caltech101", 1, **settings)
    assert options(line)["--root"] == str(tmp_path)
    assert options(line)["--config-file"] == "configs/trainers/CoOp/vit_b16.yaml"
    expected = f"{tmp_path}/out/base2new/train_base/caltech101/shots_4/CoOp/vit_b16/seed1"
    assert options(line)["--output-dir"] == expected
    (line,) = planned(checkout, "mocoop/xd_train.sh", 1, SOURCE="shapes_both")
    assert options(line)["--output-dir"] == "output/xd/train/shapes_both/shots_16/MoCoOp/tiny/seed1"
    asked = ("coop/base2new_train.sh", "caltech101", 1)
    assert planned(checkout, *asked, OUTPUT="output") == planned(checkout, *asked)  # a folder has one name


def test_overrides_follow_the_scripts_own_and_say_which_epoch_is_the_last(checkout):
    opts = "OPTIM.MAX_EPOCH 3 INPUT.TRANSFORMS \"['normalize', 'x y']\" A.B ''"
    (line,) = checkout.lines("coop/base2new_test.sh", "caltech101", 1, OPTS=opts, DRY_RUN=1)
    overrides = ["OPTIM.MAX_EPOCH", "3", "INPUT.TRANSFORMS", "['normalize', 'x y']", "A.B", ""]
    assert shlex.split(line)[-8:] == ["DATASET.SUBSAMPLE_CLASSES", "new", *overrides]
    assert options(line.split(" ", 1)[1])["--load-epoch"] == "3"


def test_scripts_work_from_any_folder_and_take_relative_folders_from_there(checkout, tmp_path):
    elsewhere = tmp_path / "else where"
    (elsewhere / "sets").mkdir(parents=True)
    (elsewhere / "bin").mkdir()
    (elsewhere / "bin/python").symlink_to(checkout.python)
    shutil.copy(REPOSITORY / "examples/feature_shift.py", elsewhere / "mine.py")
    settings = {"DATA": "sets", "PYTHON": "bin/python", "PLUGIN": "mine.py", "DRY_RUN": 1}
    done = checkout.bash("coop/base2new_train.sh", "caltech101", 1, cwd=elsewhere, **settings)
    python, line = done.stdout.split(" train.py ")
    assert shlex.split(python) == [f"{elsewhere}/bin/python"]
    found = options(f"train.py {line}")
    assert (found["--root"], found["--plugin"]) == (f"{elsewhere}/sets", f"{elsewhere}/mine.py")
    assert found["--output-dir"].startswith("output/base2new/")


def test_a_search_path_of_cd_changes_nothing(checkout):
    command = ["bash", "scripts/coop/base2new_train.sh", "caltech101", "1"]
    settings = {"PATH": os.environ["PATH"], "PYTHON": str(checkout.python), "CDPATH": f"/tmp:{checkout.root}"}
    done = subprocess.run(command, cwd=checkout.root, env=settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("train.py ")


def test_a_console_that_is_gone_costs_no_run(checkout):
    checkout.write("scripts/full.sh", 'exec bash scripts/coop/base2new_train.sh "$@" > /dev/full')
    python = checkout.write_python("stub/silent", 'echo "$@" >> runs.txt')
    finished = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed1/result.json"
    checkout.write(finished, '{"status": "done"}')
    done = checkout.bash("full.sh", "caltech101", 1, 2, 3, PYTHON=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert option((checkout.root / "runs.txt").read_text().splitlines(), "--seed") == ["2", "3"]


def test_finished_runs_are_skipped_with_one_line_and_failed_ones_run_again(checkout):
    folder = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed"
    checkout.write(f"{folder}2/result.json", '{\n "format": 1,\n "status": "done"\n}\n')
    checkout.write(f"{folder}3/result.json", '{\n "format": 1,\n "status": "failed"\n}\n')
    lines = checkout.lines("coop/base2new_train.sh", "caltech101", DRY_RUN=0)  # 0 is no dry run
    assert lines[1] == f"finished already: {folder}2" and lines[0].startswith("train.py ")
    assert option([lines[0], lines[2]], "--seed") == ["1", "3"]
    assert len(checkout.lines("coop/base2new_train.sh", "caltech101", DRY_RUN="plan")) == 3


def test_dry_run_prints_commands_that_can_be_pasted_and_runs_nothing(checkout):
    checkout.write_python("stub/python", "exit 9")
    (line,) = checkout.lines("coop/base2new_test.sh", "caltech101", 1, DRY_RUN=1, DATA="a b")
    words = shlex.split(line)
    assert words[:2] == [str(checkout.python), "train.py"]
    assert words[words.index("--root") + 1] == f"{checkout.root}/a b"


def test_the_checkouts_own_environment_is_preferred_and_an_interpreter_without_torch_named_in_one_line(checkout):
    stub = checkout.write("stub/python3", "#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    path = f"{checkout.root}/stub:{os.environ['PATH']}"
    for python, name in (("", "python3"), (stub, stub)):
        done = checkout.bash("coop/base2new_train.sh", "caltech101", 1, PYTHON=python, PATH=path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"error: {name} has no torch; make .venv with scripts/test.sh")
    checkout.write_python(".venv/bin/python", "exit 9")
    done = checkout.bash("coop/base2new_train.sh", "caltech101", 1, DRY_RUN=1, PYTHON="", PATH=path)
    assert done.stdout.startswith(".venv/bin/python train.py ") and done.stdout.count("\n") == 1


COCOOP = "configs/trainers/CoCoOp"


@pytest.mark.parametrize(
    "script, arguments, settings, message",
    [
        ("mocoop/base2new_train.sh", [], {},
         "no data set named; usage: bash scripts/mocoop/base2new_train.sh DATASET [SEED...]"),
        ("mocoop/base2new_train.sh", ["cifar"], {}, "got the dataset 'cifar', expected one of caltech101, "),
        ("mocoop/base2new_train.sh", ["caltech101", "one"], {}, "got SEED 'one', expected a whole number"),
        ("coop/few_shot.sh", ["caltech101", "-1"], {}, "got SHOTS '-1', expected a whole number"),
        ("coop/base2new_test.sh", ["caltech101", 1], {}, "no trained model in output/base2new/train_base/caltech101/"),
        ("cocoop/base2new_train.sh", ["shapes_both"], {},
         f"no configuration {COCOOP}/tiny.yaml or {COCOOP}/tiny/shapes_both.yaml"),
        ("base2new.sh", [], {}, "no method named; usage: bash scripts/base2new.sh METHOD DATASET [SEED...]"),
        ("few_shot.sh", ["CoOp"], {}, "no data set named; usage: bash scripts/few_shot.sh METHOD DATASET [SHOTS...]"),
        ("base2new.sh", ["coop", "caltech101"], {}, "got the method 'coop', did you mean CoOp?"),
        ("xd_train.sh", ["CoOp", "one"], {}, "got SEED 'one', expected a whole number"),
        ("xd_test.sh", ["CoOp", "caltech101", 1], {}, "no trained model in output/xd/train/imagenet/"),
        ("coop/base2new_train.sh", ["caltech101"], {"OPTS": "A.B 'x"}, "got OPTS with an open quote: A.B 'x\n"),
        ("coop/base2new_train.sh", ["caltech101"], {"OPTS": "A.B"}, "got OPTS 'A.B', expected pairs KEY VALUE\n"),
        ("coop/base2new_train.sh", ["caltech101"], {"SEEDS": " "}, "got SEEDS ' ', expected a whole number\n"),
        ("coop/base2new_train.sh", ["caltech101"], {"SEEDS": "1 x"}, "got SEEDS 'x', expected a whole number\n"),
        ("coop/base2new_train.sh", ["caltech101"], {"SHOTS": "x"}, "got SHOTS 'x', expected a whole number\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(checkout, tmp_path, script, arguments, settings, message):
    ending = checkout.call(script, *arguments, cwd=tmp_path, **settings)
    assert ending.status == 2 and ending.out == ""
    assert ending.err.startswith(f"error: {message}") and ending.err.count("\n") == 1


def test_a_missing_data_root_says_what_to_do_and_the_shapes_sets_need_none(checkout):
    (checkout.root / "data").rmdir()
    for settings in ({}, {"DRY_RUN": "plan"}):
        ending = checkout.call("mocoop/base2new_train.sh", "imagenet", **settings)
        assert ending.status == 2 and ending.err.count("\n") == 1
        assert f"no data in {checkout.root}/data; get it as DATASETS.md says" in ending.err
    assert len(checkout.lines("mocoop/base2new_train.sh", "shapes_both")) == 3


def test_a_configuration_without_epochs_is_named(checkout):
    checkout.write("configs/trainers/CoOp/tiny.yaml", "OPTIM:\n  LR: 0.1\n")
    (checkout.root / "output/base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed1").mkdir(parents=True)
    ending = checkout.call("coop/base2new_test.sh", "shapes_both", 1)
    assert ending.status == 2 and "no OPTIM.MAX_EPOCH in configs/trainers/CoOp/tiny.yaml" in ending.err


ADAPTER = "OPTIM:\n  MAX_EPOCH: 8\n"


@pytest.mark.parametrize(
    "script, dataset, phases",
    [
        ("base2new", "caltech101", ["base2new/train_base/caltech101", "base2new/test_new/caltech101"]),
        ("base2new_all", "caltech101", ["base2new/train_base/caltech101", "base2new_all/test_all/caltech101"]),
        ("few_shot", "caltech101", ["few_shot/train_all/caltech101"] * 5),
        ("xd", "caltech101", ["xd/train/imagenet", "xd/test/caltech101"]),
        ("dg", "imagenet_sketch", ["xd/train/imagenet", "dg/test/imagenet_sketch"]),
    ],
)
def test_a_whole_protocol_serves_a_method_that_nobody_has_told_about(checkout, script, dataset, phases):
    checkout.write("configs/trainers/Adapter/default.yaml", ADAPTER)
    lines = checkout.lines(f"{script}.sh", "Adapter", dataset, SEEDS=1, DRY_RUN=1)
    found = [options(line.partition(" ")[2]) for line in lines]
    assert ["/".join(line["--output-dir"].split("/")[1:4]) for line in found] == phases
    assert {line["--config-file"] for line in found} == {"configs/trainers/Adapter/default.yaml"}
    models = [line["--model-dir"] for line in found if "--eval-only" in line]
    assert models == ([] if script == "few_shot" else [found[0]["--output-dir"]])


def test_a_whole_protocol_tests_the_model_that_it_has_trained_and_passes_on_the_status_of_a_failing_run(checkout):
    checkout.write("configs/trainers/Adapter/default.yaml", ADAPTER)
    checkout.write_python("stub/python", 'mkdir -p "${13}"; echo "${13}"')  # of --output-dir
    lines = checkout.lines("base2new.sh", "Adapter", "caltech101", 1)
    assert [line.split("/")[2] for line in lines] == ["train_base", "test_new"]
    checkout.write_python("stub/python", "exit 3")
    assert checkout.call("coop/base2new_train.sh", "caltech101").status == 3


def test_ctrl_c_is_left_to_the_run(checkout):
    """The run saves its state, which takes a while, and the script ends with its status."""
    run = "trap 'sleep 0.3; echo saved; exit 130' INT; echo started; while :; do sleep 0.05; done"
    checkout.write_python("stub/python", run)
    process = checkout.start("coop/base2new_train.sh", "caltech101")
    assert process.stdout.readline() == "started\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "saved\n", "")
