"""The scripts as they stand in the repository, with the configurations that are shipped."""

import os
import shlex
import subprocess

import pytest
import yaml

from tests.scripts.checkout import REPOSITORY

METHODS = ["mocoop", "coop", "cocoop", "zsclip"]
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


def dry_run(script: str, *arguments: str) -> list[dict]:
    settings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings |= {"DRY_RUN": "1", "SEEDS": "1", "OUTPUT": "/nowhere"}
    command = ["bash", str(REPOSITORY / "scripts" / script), *arguments]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [[word for word in shlex.split(line)[2:] if word != "--eval-only"] for line in done.stdout.splitlines()]
    return [dict(zip(words[::2], words[1::2])) for words in lines]


def check(command: dict) -> None:
    """The configuration files are there, and the epoch to load is the last that is trained."""
    assert (REPOSITORY / command["--dataset-config-file"]).is_file()
    config = yaml.safe_load((REPOSITORY / command["--config-file"]).read_text())
    if "--load-epoch" in command:
        assert int(command["--load-epoch"]) == config["OPTIM"]["MAX_EPOCH"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", PUBLISHED + SHAPES)
def test_base_to_new_has_its_configurations(method, dataset):
    check(dry_run(f"{method}/base2new_train.sh", dataset)[0])
    check(dry_run(f"{method}/base2new_test.sh", dataset)[0])


@pytest.mark.parametrize("method", METHODS)
def test_transfer_has_its_configurations(method):
    check(dry_run(f"{method}/xd_train.sh")[0])
    for dataset in PUBLISHED[1:]:
        check(dry_run(f"{method}/xd_test.sh", dataset)[0])
    for dataset in SHIFTED:
        check(dry_run(f"{method}/dg_test.sh", dataset)[0])


@pytest.mark.parametrize("method", METHODS)
def test_few_shot_has_its_configurations(method):
    commands = dry_run(f"{method}/few_shot.sh", "caltech101") + dry_run(f"{method}/few_shot.sh", "imagenet")
    assert len(commands) == (2 if method == "zsclip" else 10)
    for command in commands:
        check(command)


@pytest.mark.parametrize("method", METHODS + [""])
def test_every_script_says_what_it_is_and_how_to_call_it(method):
    for path in sorted((REPOSITORY / "scripts" / method).glob("*.sh")):
        if path.name in NO_PROTOCOL:
            continue
        lines = path.read_text().splitlines()
        assert lines[1].startswith("# ") and lines[1].endswith(".")
        assert lines[2].startswith(f"# Usage: bash {path.relative_to(REPOSITORY)} ")
        assert os.access(path, os.X_OK)
