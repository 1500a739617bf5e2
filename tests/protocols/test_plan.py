import shlex
import subprocess
import sys

import pytest

from mocoop.checkout import config_names
from mocoop.errors import ConfigError
from mocoop.protocol import PROTOCOLS, part_of
from mocoop.protocols.configs import COMPARED, FOLDER
from mocoop.protocols.plan import Request, Run, commands, find_protocol, indexed, plan_runs
from tests.scripts.checkout import REPOSITORY, Checkout


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def plan(checkout, protocol="base2new", methods=("CoOp",), datasets=("caltech101",), seeds=(1,), **request):
    with_data = request.pop("with_data", True)
    return plan_runs(Request(protocol, methods, datasets, seeds, **request), checkout.root, with_data)


def names(runs):
    return [run.name for run in runs]


def option(run, flag):
    return run.argv[run.argv.index(flag) + 1]


def test_a_test_run_needs_the_training_run_before_it(checkout, monkeypatch):
    trained, tested = plan(checkout)
    assert trained.name == "base2new/train_base/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed1"
    assert tested.name == "base2new/test_new/caltech101/shots_16/CoOp/vit_b16_ctxv1/seed1"
    assert trained.model is None and tested.model == trained.folder
    assert [run.model for run in plan(checkout, methods=("ZeroshotCLIP",))] == [None, None]
    (line,) = checkout.lines("mocoop/base2new_train.sh", "caltech101", 2)
    assert list(plan(checkout, methods=("MoCoOp",), seeds=(2,))[0].argv) == shlex.split(line)[1:]  # as of the scripts
    monkeypatch.setenv("PATH", "")  # no other program is needed
    assert len(plan(checkout)) == 2


def test_seeds_come_one_after_the_other_for_all_methods(checkout):
    runs = plan(checkout, methods=("CoOp", "MoCoOp"), seeds=(2, 1))
    assert [run.seed for run in runs] == [1] * 4 + [2] * 4
    assert [run.name.split("/")[4] for run in runs[:4]] == ["CoOp", "CoOp", "MoCoOp", "MoCoOp"]


def test_what_is_not_given_is_left_to_the_environment(checkout, monkeypatch):
    assert sorted({run.seed for run in plan(checkout, seeds=())}) == [1, 2, 3]
    monkeypatch.setenv("SEEDS", "7")
    monkeypatch.setenv("SHOTS", "4")
    assert "shots_4/CoOp/vit_b16_ctxv1/seed7" in plan(checkout, seeds=())[0].name
    monkeypatch.setenv("SHOTS", "4 -1")
    for protocol in ("base2new_train", "few_shot"):
        assert [option(run, "DATASET.NUM_SHOTS") for run in plan(checkout, protocol)] == ["4", "-1"]
    assert [option(run, "DATASET.NUM_SHOTS") for run in plan(checkout, "few_shot", shots=(2,))] == ["2"]


def test_several_numbers_of_shots_repeat_no_zero_shot_run(checkout):
    runs = plan(checkout, "few_shot", methods=("ZeroshotCLIP", "CoOp"))
    assert [name.split("/")[3] for name in names(runs)] == [f"shots_{n}" for n in (0, 1, 2, 4, 8, 16)]
    runs = plan(checkout, "few_shot", methods=("ZeroshotCLIP",), shots=(1, 16))
    assert [option(run, "DATASET.NUM_SHOTS") for run in runs] == ["0"]
    runs = plan(checkout, methods=("ZeroshotCLIP", "CoOp"), shots=(4, 16))
    assert [option(run, "DATASET.NUM_SHOTS") for run in runs] == ["0", "0", "4", "16", "4", "16"]


@pytest.mark.parametrize("protocol", ["xd", "dg"])
def test_transfer_trains_once_on_the_source_which_is_no_target_of_its_own(checkout, protocol):
    datasets = ("caltech101", "imagenet_sketch")
    trained, *tested = plan(checkout, protocol, datasets=datasets, cfg="tiny", source="shapes_both")
    assert trained.name == "xd/train/shapes_both/shots_16/CoOp/tiny/seed1"
    assert names(tested) == [f"{protocol}/test/{dataset}/shots_16/CoOp/tiny/seed1" for dataset in datasets]
    assert {run.model for run in tested} == {trained.folder}
    for name in PROTOCOLS["xd"].datasets:
        checkout.write(f"configs/datasets/{name}.yaml", "DATASET:\n  NAME: x\n")
    tested = plan(checkout, "xd_test", datasets=(), cfg="tiny", source="dtd")
    assert [run.name.split("/")[2] for run in tested] == [n for n in PROTOCOLS["xd"].datasets if n != "dtd"]
    assert len(plan(checkout, "base2new_train", datasets=(), cfg="tiny")) == 11


def test_overrides_reach_every_command_and_the_epoch_to_load(checkout):
    overrides = ("OPTIM.MAX_EPOCH", "2", "INPUT.TRANSFORMS", "['normalize', 'a \"b\"']", "A.B", "")
    trained, tested = plan(checkout, overrides=overrides)
    assert trained.argv[-6:] == tested.argv[-6:] == overrides
    assert option(tested, "--load-epoch") == "2"
    for overrides in (("OPTIM.MAX_ITER", "20"), ("TEST.FINAL_MODEL", "best_val")):  # the model's own choice is tested
        _, tested = plan(checkout, overrides=overrides)
        assert "--load-epoch" not in tested.argv and "--model-dir" in tested.argv


def test_a_plan_lists_finished_runs_and_a_dry_run_says_that_they_are(checkout):
    trained, tested = plan(checkout)
    checkout.write(f"{trained.folder}/result.json", '{\n "status": "done"\n}\n')
    assert [run.finished(checkout.root) for run in plan(checkout)] == [True, False]
    lines = [line.split() for line in indexed([trained, tested], checkout.root)]
    assert lines == [["0", "done", trained.name], ["1", "to", "do", tested.name, "after", "0"]]
    said, command = commands(plan(checkout), checkout.root)
    assert said == f"finished already: {trained.folder}"
    assert shlex.split(command) == [sys.executable, "-m", "mocoop.train", *tested.argv]
    checkout.write("train.py", "")  # the mark of a checkout
    assert shlex.split(list(commands(plan(checkout), checkout.root))[1])[1:] == ["train.py", *tested.argv]
    for text in ('{"status": "done", "seconds"', '{"status": "running"}', '{"status": "failed"}', "{", "[]", "3"):
        checkout.write(f"{trained.folder}/result.json", text)
        assert not trained.finished(checkout.root)


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"methods": ("coop",)}, "got the method 'coop', did you mean CoOp?"),
        ({"methods": ("Nothing",)}, "got the method 'Nothing', expected one of ATPrompt, CLAP, CLIPAdapter, "),
        ({"datasets": ("caltech-101",)}, "got the dataset 'caltech-101', did you mean caltech101?"),
        ({"protocol": "xd", "source": "image-net"}, "got the source 'image-net', did you mean imagenet?"),
        ({"cfg": "rn50"}, "no configuration configs/trainers/CoOp/rn50.yaml or"),
        ({"overrides": ("OPTIM.LR",)}, "got OPTS 'OPTIM.LR', expected pairs KEY VALUE"),
        ({"cfg": "released/caltech101"}, "got --cfg (CFG) 'released/caltech101', expected a word"),
        ({"cfg": ".."}, "got --cfg (CFG) '..', expected a word"),
        ({"cfg": "a\tb"}, "got --cfg (CFG) 'a\\tb', expected a word"),
        ({"overrides": ("SEED", "9")}, "got the override SEED 9, which the plan decides; give --seeds (SEEDS) instead"),
        ({"overrides": ("OPTIM.LR", "1", "DATASET.NUM_SHOTS", "4")}, "got the override DATASET.NUM_SHOTS 4, which the"),
        ({"overrides": ("DATASET", "{}")}, "got the override DATASET {}, which the plan decides; give --datasets"),
        ({"overrides": ("TRAINER.NAME", "MaPLe")}, "got the override TRAINER.NAME MaPLe, which the plan decides; give"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(checkout, request_, message):
    with pytest.raises(ConfigError) as caught:
        plan(checkout, **request_)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_whatever_a_command_line_decides_cannot_be_overridden(checkout, tmp_path):
    """Each key that a flag or an override of the command sets, whichever run it is."""
    (run, *_) = plan(checkout, data=str(tmp_path))
    flags = {"--root": "DATASET.ROOT", "--seed": "SEED", "--trainer": "TRAINER.NAME", "--output-dir": "OUTPUT_DIR"}
    set_here = {flags[word] for word in run.argv if word in flags} | {word for word in run.argv if word.isupper()}
    assert len(set_here) == 6
    for key in {*set_here, "DATASET.NAME"}:
        with pytest.raises(ConfigError, match=f"got the override {key} x, which the plan decides; give "):
            plan(checkout, overrides=(key, "x"))


def test_data_are_where_they_are_said_to_be_and_missing_ones_said_once_but_not_to_a_list(checkout, tmp_path):
    """A dataset with a root of its own keeps it unless another is given."""
    (tmp_path / "my data").mkdir()
    (run, _) = plan(checkout, data=str(tmp_path / "my data"), output=str(tmp_path / "out"))
    assert option(run, "--root") == str(tmp_path / "my data")
    assert run.folder == f"{tmp_path}/out/{run.name}"
    checkout.write("configs/datasets/birds.yaml", "DATASET:\n  NAME: Folder\n  ROOT: /my/birds\n")
    (checkout.root / "data").rmdir()
    (run,) = plan(checkout, "base2new_train", datasets=("birds",))
    assert "--root" not in run.argv
    (run,) = plan(checkout, "base2new_train", datasets=("birds",), data=str(tmp_path))
    assert option(run, "--root") == str(tmp_path)
    with pytest.raises(ConfigError, match="no data in .*/data; get it as DATASETS.md says"):
        plan(checkout, datasets=("birds", "caltech101"))
    assert len(plan(checkout, with_data=False)) == 2


def test_a_command_can_be_pasted_into_a_shell():
    for word in ("a\nb", "$HOME", "it's", "~", "a:~", "", "é", "a b"):
        done = subprocess.run(["bash", "-c", Run("out", 1, (word,)).command("echo")], capture_output=True)
        assert done.stdout.decode() == f"train.py {word}\n"


PARTS = {
    "base2new": ("base2new_train", "base2new_test"),
    "base2new_all": ("base2new_train", "base2new_all_test"),
    "few_shot": ("few_shot",),
    "xd": ("xd_train", "xd_test"),
    "dg": ("xd_train", "dg_test"),
}


def test_the_datasets_of_the_papers_and_every_method_are_there():
    for name, protocol in PROTOCOLS.items():
        assert all((REPOSITORY / f"configs/datasets/{name}.yaml").is_file() for name in protocol.datasets)
        assert sum((part_of(part)[1] for part in PARTS[name]), ()) == protocol.phases
        for folder in ("", "zsclip", "coop", "cocoop", "mocoop"):
            assert all((REPOSITORY / "scripts" / folder / f"{script}.sh").is_file() for script in PARTS[name])
    assert find_protocol("cross_dataset") == find_protocol("xd") == "xd" and find_protocol("dg") == "dg"
    with pytest.raises(ConfigError, match="got the protocol 'base2nwe', did you mean base2new?"):
        find_protocol("base2nwe")
    assert set(COMPARED) == {"ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp"}
    assert {*COMPARED, "ZeroshotCLIP2"} <= set(config_names(REPOSITORY, FOLDER))


def test_two_thousand_runs_are_planned_in_a_moment_and_without_torch():
    code = """
import sys, time
from pathlib import Path
from mocoop.protocols.plan import plan_runs
from mocoop.protocols.plan import Request
methods = ("ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp")
started = time.process_time()
runs = plan_runs(Request("base2new", methods, seeds=tuple(range(23)), data="."), Path.cwd())
print(len(runs), time.process_time() - started, "torch" in sys.modules, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    number, seconds, *imported = done.stdout.split()
    assert int(number) == 4 * 11 * 2 * 23 and float(seconds) < 2 and imported == ["False", "False"]


def test_a_method_is_known_by_its_folder_of_configurations_and_not_tested_on_classes_it_cannot_name(checkout):
    for method, count in (("Adapter", 2), ("LinearProbe", 1), ("TipAdapter", 2)):
        checkout.write(f"configs/trainers/{method}/default.yaml", "OPTIM:\n  MAX_EPOCH: 8\n")
        assert len(plan(checkout, methods=(method,))) == count
        assert len(plan(checkout, "dg", methods=(method,), datasets=("imagenet_sketch",), source="imagenet")) == 2
    trained, tested = plan(checkout, methods=("Adapter",))
    assert option(trained, "--config-file") == "configs/trainers/Adapter/default.yaml"
    assert tested.model == trained.folder and option(tested, "--load-epoch") == "8"
    with pytest.raises(ConfigError, match="LinearProbe: no run of base2new_test, which tests classes that were not"):
        plan(checkout, "base2new_test", methods=("LinearProbe",))
