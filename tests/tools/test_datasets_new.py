import pytest
import yaml

from mocoop.checkout import find_checkout
from mocoop.cli import main
from mocoop.clip.templates import template_groups
from mocoop.config import merge_file
from mocoop.data.new_config import config_name
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg
from mocoop.methods.mocoop.auto_groups import wants_auto
from mocoop.training import run_command
from tests.datasets.own import make_own_tree


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A stand-in for the checkout, so that configs are written there."""
    (tmp_path / "checkout/configs/datasets").mkdir(parents=True)
    monkeypatch.setattr("mocoop.tools.datasets.find_checkout", lambda: tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture
def root(tmp_path):
    return make_own_tree(tmp_path / "My Birds")


def test_the_config_is_ready_for_mocoop(root, checkout, capsys):
    assert main(["datasets", "new", str(root)]) == 0
    text = capsys.readouterr().out
    assert (
        "3 classes, 17 images" in text
        and "mocoop run base2new --methods MoCoOp --datasets my_birds --seeds 1\n" in text
    )
    content = yaml.safe_load((checkout / "configs/datasets/my_birds.yaml").read_text())
    assert content["DATASET"]["NAME"] == "Folder" and content["DATASET"]["ROOT"] == str(root)
    groups = content["TRAINER"]["MOCOOP"]
    assert dict(zip(groups["GROUP_NAMES"], groups["GROUPS"], strict=True)) == template_groups("Folder")


def test_the_config_is_not_overwritten(root, checkout, capsys):
    assert main(["datasets", "new", str(root)]) == 0
    assert main(["datasets", "new", str(root)]) == 2
    assert "my_birds.yaml exists and is not overwritten" in capsys.readouterr().err
    assert main(["datasets", "new", str(root), "--name", "other"]) == 0


@pytest.mark.parametrize("name", ["my birds", "../x", "a/b", "-x", "$x"])
def test_a_name_that_a_command_cannot_hold_is_refused(root, checkout, capsys, name):
    assert main(["datasets", "new", str(root), f"--name={name}"]) == 2
    assert f"got --name '{name}', expected a word" in capsys.readouterr().err
    assert not list(checkout.rglob("*.yaml"))


def test_own_templates(root, checkout, tmp_path, capsys):
    (tmp_path / "groups.txt").write_text(
        "[photo]\na photo of a {}.\na good photo of the {}.\n\n[field]\na {} in the field.\n"
    )
    assert main(["datasets", "new", str(root), "--templates", str(tmp_path / "groups.txt")]) == 0
    groups = yaml.safe_load((checkout / "configs/datasets/my_birds.yaml").read_text())["TRAINER"]["MOCOOP"]
    assert groups["GROUP_NAMES"] == ["photo", "field"]
    assert groups["GROUPS"] == [["a photo of a {}.", "a good photo of the {}."], ["a {} in the field."]]


def test_groups_can_be_left_to_clip(root, checkout, capsys):
    assert main(["datasets", "new", str(root), "--templates", "auto"]) == 0
    cfg = get_cfg_default()
    extend_cfg(cfg)
    merge_file(cfg, str(checkout / "configs/datasets/my_birds.yaml"))
    assert wants_auto(cfg.TRAINER.MOCOOP) and cfg.TRAINER.MOCOOP.AUTO_TEMPLATES == "clip"


@pytest.mark.parametrize(
    "text, message",
    [
        ("a photo of a {}.", "line 1: no \\[name\\]"),
        ("[a]\nno braces", "line 2"),
        ("[a]\n[b]\n{} x", "group \\[a\\] has no template"),
        ("", "holds no group"),
    ],
)
def test_bad_templates_are_named(root, checkout, tmp_path, capsys, text, message):
    (tmp_path / "groups.txt").write_text(text)
    assert main(["datasets", "new", str(root), "--templates", str(tmp_path / "groups.txt")]) == 2
    import re

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("folder, name", [("My Birds (2024)", "my_birds_2024"), ("été", "été"), ("---", "own_images")])
def test_config_name(folder, name):
    assert config_name(f"/data/{folder}") == name


def test_the_written_config_is_accepted_by_the_parser_of_train(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mocoop.tools.datasets.find_checkout", lambda: tmp_path)
    (tmp_path / "configs/datasets").mkdir(parents=True)
    assert main(["datasets", "new", str(root), "--name", "own"]) == 0
    import train

    words = ["--trainer", "MoCoOp", "--dataset-config-file", str(tmp_path / "configs/datasets/own.yaml")]
    cfg = run_command.setup_cfg(train.parse_args(words))
    assert cfg.DATASET.FOLDER.BAD_IMAGES == "skip" and len(cfg.TRAINER.MOCOOP.GROUPS) == 4
    assert find_checkout().joinpath("train.py").exists()
