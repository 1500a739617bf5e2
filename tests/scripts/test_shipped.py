"""The scripts as they stand in the repository, with the configurations that are shipped."""

import os
import shlex
import subprocess
import sys

import pytest

from mocoop.config import read_settings
from mocoop.protocol import PROTOCOLS
from mocoop.protocols.script import main
from tests.scripts.checkout import METHODS, REPOSITORY

SETTINGS = {"DRY_RUN": "1", "SEEDS": "1", "OUTPUT": "/nowhere"}
PUBLISHED, SHIFTED = PROTOCOLS["base2new"].datasets, PROTOCOLS["dg"].datasets
SHAPES = ("shapes_color", "shapes_shape", "shapes_both")
NO_PROTOCOL = ("common.sh", "environment.sh", "demo.sh", "test.sh")


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
def test_every_protocol_has_its_configurations(dry_run, method):
    for dataset in (*PUBLISHED, *SHAPES):
        check(dry_run(method, "base2new_train.sh", dataset)[0])
        check(dry_run(method, "base2new_test.sh", dataset)[0])
    check(dry_run(method, "xd_train.sh")[0])
    for protocol, datasets in (("xd", PUBLISHED[1:]), ("dg", SHIFTED)):
        for dataset in datasets:
            check(dry_run(method, f"{protocol}_test.sh", dataset)[0])
    commands = dry_run(method, "few_shot.sh", "caltech101") + dry_run(method, "few_shot.sh", "imagenet")
    assert len(commands) == (2 if method == "zsclip" else 10)
    for command in commands:
        check(command)


@pytest.mark.parametrize("method, script, dataset", [("coop", "xd_train", []), ("mocoop", "few_shot", ["dtd"])])
def test_a_script_starts_its_module(dry_run, method, script, dataset):
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | SETTINGS
    command = ["bash", str(REPOSITORY / f"scripts/{method}/{script}.sh"), *dataset]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert parsed(done.stdout) == dry_run(method, f"{script}.sh", *dataset) != []


@pytest.mark.parametrize("method", [*METHODS, ""])
def test_every_script_says_what_it_is_and_how_to_call_it_and_passes_on_its_method(method):
    for path in sorted((REPOSITORY / "scripts" / method).glob("*.sh")):
        if path.name in NO_PROTOCOL:
            continue
        lines = path.read_text().splitlines()
        assert lines[1].startswith("# ") and lines[1].endswith(".")
        assert lines[2].startswith(f"# Usage: bash {path.relative_to(REPOSITORY)} ")
        assert os.access(path, os.X_OK)
        if path.name != "test_cluster.sh":
            common, name = ("/../common.sh", f"{METHODS[method]} ") if method else ("/common.sh", "")
            assert lines[3:] == [f'source "$(dirname "${{BASH_SOURCE[0]}}"){common}" {name}"$@"']
