"""The scripts as they stand in the repository, with the configurations that are shipped."""

import os
import shlex
import subprocess
import sys

import pytest

from mocoop.config import read_settings
from mocoop.protocols.script import main
from tests.scripts.checkout import REPOSITORY

METHODS = {"mocoop": "MoCoOp", "coop": "CoOp", "cocoop": "CoCoOp", "zsclip": "ZeroshotCLIP"}  # by folder
SETTINGS = {"DRY_RUN": "1", "SEEDS": "1", "OUTPUT": "/nowhere"}
PUBLISHED = [
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
]
SHAPES = ["shapes_color", "shapes_shape", "shapes_both"]
NO_PROTOCOL = ("common.sh", "environment.sh", "demo.sh", "test.sh")
SHIFTED = ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]


@pytest.fixture
def dry_run(capsys, monkeypatch):
    """The commands of a script, by the module that it starts."""
    monkeypatch.chdir(REPOSITORY)
    for name, value in (SETTINGS | {"PYTHON": sys.executable}).items():
        monkeypatch.setenv(name, value)

    def run(method: str, script: str, *arguments: str) -> list[dict]:
        assert main(f"scripts/{method}/{script}", "", "", METHODS[method], *arguments) == 0
        return parsed(capsys.readouterr().out)

    return run


def parsed(commands: str) -> list[dict]:
    lines = [[word for word in shlex.split(line)[2:] if word != "--eval-only"] for line in commands.splitlines()]
    return [dict(zip(words[::2], words[1::2])) for words in lines]


def check(command: dict) -> None:
    """The configuration files are there, and the epoch to load is the last that is trained."""
    assert (REPOSITORY / command["--dataset-config-file"]).is_file()
    config = read_settings(REPOSITORY / command["--config-file"])
    if "--load-epoch" in command:
        assert int(command["--load-epoch"]) == config["OPTIM"]["MAX_EPOCH"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", PUBLISHED + SHAPES)
def test_base_to_new_has_its_configurations(dry_run, method, dataset):
    check(dry_run(method, "base2new_train.sh", dataset)[0])
    check(dry_run(method, "base2new_test.sh", dataset)[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("script, dataset", [("base2new_train", ["dtd"]), ("few_shot", ["dtd"]), ("xd_train", [])])
def test_a_script_starts_its_module(dry_run, method, script, dataset):
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | SETTINGS
    command = ["bash", str(REPOSITORY / f"scripts/{method}/{script}.sh"), *dataset]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert parsed(done.stdout) == dry_run(method, f"{script}.sh", *dataset) != []


@pytest.mark.parametrize("method", METHODS)
def test_transfer_has_its_configurations(dry_run, method):
    check(dry_run(method, "xd_train.sh")[0])
    for dataset in PUBLISHED[1:]:
        check(dry_run(method, "xd_test.sh", dataset)[0])
    for dataset in SHIFTED:
        check(dry_run(method, "dg_test.sh", dataset)[0])


@pytest.mark.parametrize("method", METHODS)
def test_few_shot_has_its_configurations(dry_run, method):
    commands = dry_run(method, "few_shot.sh", "caltech101") + dry_run(method, "few_shot.sh", "imagenet")
    assert len(commands) == (2 if method == "zsclip" else 10)
    for command in commands:
        check(command)


@pytest.mark.parametrize("method", [*METHODS, ""])
def test_every_script_says_what_it_is_and_how_to_call_it(method):
    for path in sorted((REPOSITORY / "scripts" / method).glob("*.sh")):
        if path.name in NO_PROTOCOL:
            continue
        lines = path.read_text().splitlines()
        assert lines[1].startswith("# ") and lines[1].endswith(".")
        assert lines[2].startswith(f"# Usage: bash {path.relative_to(REPOSITORY)} ")
        assert os.access(path, os.X_OK)
