import os
import shlex
import shutil
import signal
import subprocess
from unittest import mock

import pytest

from mocoop.protocols.plan import completed, list_runs
from mocoop.protocols.script import read_request
from tests.scripts.checkout import REPOSITORY, Checkout

METHODS = {"mocoop": "MoCoOp", "coop": "CoOp", "cocoop": "CoCoOp", "zsclip": "ZeroshotCLIP"}


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


def test_own_images_train_with_the_default_of_the_variant(checkout):
    checkout.write("configs/datasets/birds.yaml", "DATASET:\n  NAME: Folder\n")
    checkout.write("configs/trainers/MoCoOp/released/default.yaml", "OPTIM:\n  MAX_EPOCH: 7\n")
    (line,) = planned(checkout, "mocoop/base2new_train.sh", "birds", 1)
    assert options(line)["--config-file"] == "configs/trainers/MoCoOp/released/default.yaml"
    assert options(line)["--output-dir"] == "output/base2new/train_base/birds/shots_16/MoCoOp/released/seed1"


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


@pytest.mark.parametrize("folder, trainer", METHODS.items())
def test_without_seeds_seeds_1_2_3_are_run(checkout, folder, trainer):
    lines = planned(checkout, f"{folder}/base2new_train.sh", "imagenet")
    assert option(lines, "--seed") == ["1", "2", "3"]
    assert set(option(lines, "--trainer")) == {trainer}


def test_seeds_come_from_the_arguments_or_the_environment(checkout):
    assert option(planned(checkout, "coop/base2new_train.sh", "imagenet", 0, 7), "--seed") == ["0", "7"]
    assert option(planned(checkout, "coop/base2new_train.sh", "imagenet", SEEDS="4 5"), "--seed") == ["4", "5"]


@pytest.mark.parametrize(
    "script, dataset, cfg",
    [
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
    (line,) = planned(checkout, script, dataset, 1)
    assert options(line)["--config-file"] == f"configs/trainers/{cfg}.yaml"


def test_coop_few_shot_configurations_follow_the_number_of_shots(checkout):
    lines = planned(checkout, "coop/few_shot.sh", "caltech101", SEEDS=1)
    assert option(lines, "DATASET.NUM_SHOTS") == ["1", "2", "4", "8", "16"]
    names = [path.split("/")[-1] for path in option(lines, "--config-file")]
    assert names == [f"vit_b16{suffix}.yaml" for suffix in ("_ep50", "_ep100", "_ep100", "", "")]
    assert option(lines, "--output-dir")[1] == "output/few_shot/train_all/caltech101/shots_2/CoOp/vit_b16_ep100/seed1"
    assert set(option(lines, "DATASET.SUBSAMPLE_CLASSES")) == {"all"}


def test_coop_few_shot_on_imagenet_always_trains_50_epochs(checkout):
    lines = planned(checkout, "coop/few_shot.sh", "imagenet", 4, 16, SEEDS=1)
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


def test_another_source_can_be_named(checkout):
    (line,) = planned(checkout, "mocoop/xd_train.sh", 1, SOURCE="shapes_both")
    assert options(line)["--output-dir"] == "output/xd/train/shapes_both/shots_16/MoCoOp/tiny/seed1"


@pytest.mark.parametrize("script", ["base2new_train", "base2new_test", "xd_test", "dg_test"])
def test_zero_shot_is_only_tested_and_needs_no_model(checkout, script):
    (line,) = planned(checkout, f"zsclip/{script}.sh", "caltech101", 1)
    found = options(line)
    assert found["--eval-only"] and "--model-dir" not in found and "--load-epoch" not in found
    assert "/shots_0/" in found["--output-dir"] and found["DATASET.NUM_SHOTS"] == "0"


def test_zero_shot_has_one_point_on_the_few_shot_curve(checkout):
    lines = planned(checkout, "zsclip/few_shot.sh", "caltech101", 1, 16, SEEDS=1)
    assert option(lines, "DATASET.NUM_SHOTS") == ["0"]


def test_settings_change_folders_and_configuration(checkout, tmp_path):
    settings = {"DATA": tmp_path, "OUTPUT": tmp_path / "out", "SHOTS": 4, "CFG": "vit_b16"}
    (line,) = planned(checkout, "coop/base2new_train.sh", "caltech101", 1, **settings)
    assert options(line)["--root"] == str(tmp_path)
    assert options(line)["--config-file"] == "configs/trainers/CoOp/vit_b16.yaml"
    expected = f"{tmp_path}/out/base2new/train_base/caltech101/shots_4/CoOp/vit_b16/seed1"
    assert options(line)["--output-dir"] == expected


def test_scripts_work_from_any_folder_and_take_relative_folders_from_there(checkout, tmp_path):
    elsewhere = tmp_path / "else where"
    (elsewhere / "sets").mkdir(parents=True)
    done = checkout.bash("coop/base2new_train.sh", "caltech101", 1, cwd=elsewhere, DATA="sets", DRY_RUN=1)
    assert options(done.stdout.split(" ", 1)[1])["--root"] == f"{elsewhere}/sets"
    assert " output/base2new/" in f" {done.stdout}"


def test_plugins_and_the_interpreter_are_relative_to_where_a_script_is_started_too(checkout, tmp_path):
    elsewhere = tmp_path / "else where"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "bin/python").symlink_to(checkout.python)
    shutil.copy(REPOSITORY / "examples/feature_shift.py", elsewhere / "mine.py")
    settings = {"PYTHON": "bin/python", "PLUGIN": "mine.py"}
    (line,) = checkout.lines("coop/base2new_train.sh", "caltech101", 1, cwd=elsewhere, DRY_RUN=1, **settings)
    words = shlex.split(line)
    assert words[0] == f"{elsewhere}/bin/python" and words[words.index("--plugin") + 1] == f"{elsewhere}/mine.py"


def test_a_search_path_of_cd_changes_nothing(checkout):
    command = ["bash", "scripts/coop/base2new_train.sh", "caltech101", "1"]
    settings = {"PATH": os.environ["PATH"], "PYTHON": str(checkout.python), "CDPATH": f"/tmp:{checkout.root}"}
    done = subprocess.run(command, cwd=checkout.root, env=settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("train.py ")


def test_a_dry_run_of_0_is_none(checkout):
    (line,) = checkout.lines("coop/base2new_train.sh", "caltech101", 1, DRY_RUN=0)
    assert line.startswith("train.py ")


def test_overrides_follow_the_scripts_own(checkout):
    opts = "OPTIM.LR 0.1 INPUT.TRANSFORMS \"['normalize', 'x y']\" A.B ''"
    (line,) = checkout.lines("coop/base2new_train.sh", "caltech101", 1, OPTS=opts, DRY_RUN=1)
    overrides = ["OPTIM.LR", "0.1", "INPUT.TRANSFORMS", "['normalize', 'x y']", "A.B", ""]
    assert shlex.split(line)[-8:] == ["DATASET.SUBSAMPLE_CLASSES", "base", *overrides]


def test_a_console_that_is_gone_costs_no_run(checkout):
    checkout.write("scripts/full.sh", 'exec bash scripts/coop/base2new_train.sh "$@" > /dev/full')
    python = checkout.write_python("stub/silent", 'echo "$@" >> runs.txt')
    finished = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed1/result.json"
    checkout.write(finished, '{"status": "done"}')
    done = checkout.bash("full.sh", "caltech101", 1, 2, 3, PYTHON=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert option((checkout.root / "runs.txt").read_text().splitlines(), "--seed") == ["2", "3"]


def test_an_override_of_the_epochs_says_which_is_the_last(checkout):
    (line,) = checkout.lines("coop/base2new_test.sh", "caltech101", 1, OPTS="OPTIM.MAX_EPOCH 3", DRY_RUN=1)
    assert options(line.split(" ", 1)[1])["--load-epoch"] == "3"


@pytest.mark.parametrize(
    "opts, message", [("A.B 'x", "an open quote: A.B 'x"), ("A.B", "'A.B', expected pairs KEY VALUE")]
)
def test_overrides_that_are_none_are_named(checkout, opts, message):
    done = checkout.bash("coop/base2new_train.sh", "caltech101", OPTS=opts)
    assert done.returncode == 2 and done.stderr.endswith(f"{message}\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("variable, text", [("SEEDS", " "), ("SEEDS", "1 x"), ("SHOTS", "x")])
def test_numbers_that_are_none_are_named_with_their_variable(checkout, variable, text):
    done = checkout.bash("coop/base2new_train.sh", "caltech101", **{variable: text})
    assert done.stderr == f"error: got {variable} '{text.split(' ')[-1] or text}', expected a whole number\n"


def test_a_folder_in_the_checkout_has_one_name(checkout):
    lines = [
        planned(checkout, "coop/base2new_train.sh", "caltech101", 1, **given) for given in ({}, {"OUTPUT": "output"})
    ]
    assert lines[0] == lines[1]


def test_a_plan_prints_finished_runs_too_and_needs_the_data(checkout):
    folder = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed2"
    checkout.write(f"{folder}/result.json", '{\n "status": "done"\n}\n')
    assert len(checkout.lines("coop/base2new_train.sh", "caltech101", DRY_RUN="plan")) == 3
    (checkout.root / "data").rmdir()
    done = checkout.bash("coop/base2new_train.sh", "caltech101", DRY_RUN="plan")
    assert done.returncode == 2 and "no data in" in done.stderr


def test_a_finished_run_is_skipped_with_one_line(checkout):
    folder = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed2"
    checkout.write(f"{folder}/result.json", '{\n "format": 1,\n "status": "done"\n}\n')
    lines = checkout.lines("coop/base2new_train.sh", "caltech101")
    assert lines[1] == f"finished already: {folder}"
    assert option([lines[0], lines[2]], "--seed") == ["1", "3"]


def test_a_failed_run_is_run_again(checkout):
    folder = "output/base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed1"
    checkout.write(f"{folder}/result.json", '{\n "format": 1,\n "status": "failed"\n}\n')
    assert options(checkout.lines("coop/base2new_train.sh", "caltech101", 1)[0])["--seed"] == "1"


def test_dry_run_prints_commands_that_can_be_pasted_and_runs_nothing(checkout):
    checkout.write_python("stub/python", "exit 9")
    (line,) = checkout.lines("coop/base2new_test.sh", "caltech101", 1, DRY_RUN=1, DATA="a b")
    words = shlex.split(line)
    assert words[:2] == [str(checkout.python), "train.py"]
    assert words[words.index("--root") + 1] == f"{checkout.root}/a b"


def test_the_checkouts_own_environment_is_preferred(checkout):
    checkout.write_python(".venv/bin/python", "exit 9")
    (line,) = checkout.lines("coop/base2new_train.sh", "caltech101", 1, DRY_RUN=1, PYTHON="")
    assert line.startswith(".venv/bin/python train.py ")


def test_an_interpreter_without_torch_is_named_in_one_line(checkout):
    stub = checkout.write("stub/python3", "#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    path = f"{checkout.root}/stub:{os.environ['PATH']}"
    for python, name in (("", "python3"), (stub, stub)):
        done = checkout.bash("coop/base2new_train.sh", "caltech101", 1, PYTHON=python, PATH=path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"error: {name} has no torch; make .venv with scripts/test.sh")


def test_the_status_of_a_failing_run_is_passed_on(checkout):
    checkout.write_python("stub/python", "echo $4; exit 3")
    done = checkout.bash("coop/base2new_train.sh", "caltech101")
    assert done.returncode == 3


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        (
            "mocoop/base2new_train.sh",
            [],
            "no data set named; usage: bash scripts/mocoop/base2new_train.sh DATASET [SEED...]",
        ),
        ("mocoop/base2new_train.sh", ["cifar"], "got the dataset 'cifar', expected one of caltech101, "),
        ("mocoop/base2new_train.sh", ["caltech101", "one"], "got SEED 'one', expected a whole number"),
        ("coop/few_shot.sh", ["caltech101", "-1"], "got SHOTS '-1', expected a whole number"),
        ("coop/base2new_test.sh", ["caltech101", 1], "no trained model in output/base2new/train_base/caltech101/"),
        (
            "cocoop/base2new_train.sh",
            ["shapes_both"],
            "no configuration configs/trainers/CoCoOp/tiny.yaml or configs/trainers/CoCoOp/tiny/shapes_both.yaml",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(checkout, tmp_path, script, arguments, message):
    done = checkout.bash(script, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_a_missing_data_root_says_what_to_do(checkout):
    (checkout.root / "data").rmdir()
    done = checkout.bash("mocoop/base2new_train.sh", "imagenet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"no data in {checkout.root}/data; get it as DATASETS.md says" in done.stderr


def test_the_shapes_sets_need_no_data_root(checkout):
    (checkout.root / "data").rmdir()
    assert len(checkout.lines("mocoop/base2new_train.sh", "shapes_both")) == 3


def test_a_configuration_without_epochs_is_named(checkout):
    checkout.write("configs/trainers/CoOp/tiny.yaml", "OPTIM:\n  LR: 0.1\n")
    (checkout.root / "output/base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed1").mkdir(parents=True)
    done = checkout.bash("coop/base2new_test.sh", "shapes_both", 1)
    assert done.returncode == 2 and "no OPTIM.MAX_EPOCH in configs/trainers/CoOp/tiny.yaml" in done.stderr


ADAPTER = "OPTIM:\n  MAX_EPOCH: 8\n"


@pytest.mark.parametrize(
    "habit, script, arguments",
    [
        ("coop/base2new_train.sh", "base2new_train.sh", ["caltech101", 2]),
        ("mocoop/few_shot.sh", "few_shot.sh", ["imagenet", 4, 16]),
        ("cocoop/xd_train.sh", "xd_train.sh", []),
        ("zsclip/base2new_all_test.sh", "base2new_all_test.sh", ["caltech101", 1]),
        ("zsclip/dg_test.sh", "dg_test.sh", ["imagenet_sketch", 1]),
    ],
)
def test_a_script_for_every_method_does_what_that_of_one_does(checkout, habit, script, arguments):
    method = METHODS[habit.partition("/")[0]]
    assert checkout.lines(script, method, *arguments) == checkout.lines(habit, *arguments)


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


def test_a_whole_protocol_tests_the_model_that_it_has_trained(checkout):
    checkout.write("configs/trainers/Adapter/default.yaml", ADAPTER)
    checkout.write_python("stub/python", 'mkdir -p "${13}"; echo "${13}"')  # of --output-dir
    lines = checkout.lines("base2new.sh", "Adapter", "caltech101", 1)
    assert [line.split("/")[2] for line in lines] == ["train_base", "test_new"]


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("base2new.sh", [], "no method named; usage: bash scripts/base2new.sh METHOD DATASET [SEED...]"),
        ("few_shot.sh", ["CoOp"], "no data set named; usage: bash scripts/few_shot.sh METHOD DATASET [SHOTS...]"),
        ("base2new.sh", ["coop", "caltech101"], "got the method 'coop', did you mean CoOp?"),
        ("xd_train.sh", ["CoOp", "one"], "got SEED 'one', expected a whole number"),
        ("xd_test.sh", ["CoOp", "caltech101", 1], "no trained model in output/xd/train/imagenet/"),
    ],
)
def test_what_is_wrong_with_a_method_is_said_in_one_line(checkout, script, arguments, message):
    done = checkout.bash(script, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_ctrl_c_is_left_to_the_run(checkout):
    """The run saves its state, which takes a while, and the script ends with its status."""
    run = "trap 'sleep 1; echo saved; exit 130' INT; echo started; while :; do sleep 0.05; done"
    checkout.write_python("stub/python", run)
    process = checkout.start("coop/base2new_train.sh", "caltech101")
    assert process.stdout.readline() == "started\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "saved\n", "")
