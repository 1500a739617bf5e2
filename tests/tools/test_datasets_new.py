import re
from pathlib import Path

import pytest
import yaml

import train
from mocoop.cli import main
from mocoop.clip.templates import template_groups
from mocoop.config import merge_file
from mocoop.data.config import config_name
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg
from mocoop.methods.mocoop.auto_groups import wants_auto
from mocoop.pixels import HEIF
from mocoop.training import run_command
from tests.datasets.own import make_odd_tree, make_own_tree, save
from tests.datasets.test_folder import fill


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A stand-in for the checkout, so that configs are written there."""
    (tmp_path / "checkout/configs/datasets").mkdir(parents=True)
    monkeypatch.setattr("mocoop.tools.datasets.find_checkout", lambda: tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture
def root(tmp_path):
    return make_own_tree(tmp_path / "My Birds")


def test_the_config_is_ready_for_mocoop_and_not_overwritten(root, checkout, capsys):
    before = {path for path in root.rglob("*")}
    assert main(["datasets", "new", str(root)]) == 0
    text = capsys.readouterr().out
    assert "3 classes, 17 images" in text
    assert "mocoop run base2new --methods MoCoOp --datasets my_birds --seeds 1\n" in text
    config = checkout / "configs/datasets/my_birds.yaml"
    content = yaml.safe_load(config.read_text())
    assert content["DATASET"]["NAME"] == "Folder" and content["DATASET"]["ROOT"] == str(root)
    groups = content["TRAINER"]["MOCOOP"]
    assert dict(zip(groups["GROUP_NAMES"], groups["GROUPS"], strict=True)) == template_groups("Folder")
    cfg = run_command.setup_cfg(train.parse_args(["--trainer", "MoCoOp", "--dataset-config-file", str(config)]))
    assert cfg.DATASET.FOLDER.BAD_IMAGES == "skip" and len(cfg.TRAINER.MOCOOP.GROUPS) == 4
    assert {path.name for path in set(root.rglob("*")) - before} <= {".mocoop", "images.json"}  # beside the images
    assert main(["datasets", "new", str(root)]) == 2
    assert "my_birds.yaml exists and is not overwritten" in capsys.readouterr().err
    assert main(["datasets", "new", str(root), "--name", "other"]) == 0


def test_an_installed_data_set_keeps_its_name(root, checkout, tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "site/configs/datasets/eurosat.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    monkeypatch.setattr("mocoop.checkout.SHIPPED", tmp_path / "site")
    assert main(["datasets", "new", str(root), "--name", "eurosat"]) == 2
    message = "got the name 'eurosat', which a data set of this package has; choose another --name"
    assert message in capsys.readouterr().err
    assert not list(checkout.rglob("*.yaml"))


@pytest.mark.parametrize(
    "words, message",
    [
        *(
            ([f"--name={name}"], f"got --name '{name}', expected a word")
            for name in ("my birds", "../x", "a/b", "-x", "$x")
        ),
        *(([root], "expected a folder with a folder of images for each class") for root in ("/", "//", "/tmp/..")),
    ],
)
def test_what_is_no_name_or_no_folder_of_images_is_refused(root, checkout, capsys, words, message):
    assert main(["datasets", "new", *([str(root), *words] if words[0].startswith("-") else words)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: got ") and message in line
    assert not list(checkout.rglob("*.yaml"))


def test_one_image_of_each_class_is_refused_as_by_a_training(tmp_path, checkout, capsys):
    fill(tmp_path / "pairs", "cat", "dog", count=1)
    assert main(["datasets", "new", str(tmp_path / "pairs")]) == 2
    assert "no class has an image to test on, expected two images in some" in capsys.readouterr().err
    assert not list(checkout.rglob("*.yaml"))


def test_own_templates(root, checkout, tmp_path, capsys):
    text = "\ufeff[photo]\na photo of a {}.\na good photo of the {}.\n\n[field]\na {} in the field.\n"
    (tmp_path / "groups.txt").write_text(text, encoding="utf-8")
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
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("folder, name", [("My Birds (2024)", "my_birds_2024"), ("été", "été"), ("---", "own_images")])
def test_config_name(folder, name):
    assert config_name(f"/data/{folder}") == name


def new(root, *words) -> int:
    return main(["datasets", "new", str(root), "--name", "own", *map(str, words)])


def test_a_csv_with_columns_of_its_own(checkout, tmp_path, capsys):
    fill(tmp_path, "own")
    lines = ["\ufeffid;file;breed", *(f"{n};{n}.png;pug" for n in range(4)), ";;"]
    (tmp_path / "own/list.csv").write_text("\n".join(lines), encoding="utf-8")
    assert new(tmp_path / "own", "--csv", "list.csv") == 2
    assert "--csv-columns image=NAME,label=NAME" in capsys.readouterr().err
    assert new(tmp_path / "own", "--csv", "list.csv", "--csv-columns", "image=file,label=breed") == 0
    assert "1 classes, 4 images" in capsys.readouterr().out
    content = yaml.safe_load((checkout / "configs/datasets/own.yaml").read_text())
    assert content["DATASET"]["FOLDER"]["CSV_COLUMNS"] == "image=file,label=breed"
    assert "READ" not in content["DATASET"]["FOLDER"]


def test_links_are_followed_on_request(checkout, tmp_path, capsys):
    fill(tmp_path, "cat", "dog", count=3)
    (tmp_path / "own").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / f"own/{name}").symlink_to(tmp_path / name)
    assert new(tmp_path / "own") == 2
    assert "DATASET.FOLLOW_LINKS True" in capsys.readouterr().out
    assert new(tmp_path / "own", "--follow-links") == 0
    assert yaml.safe_load((checkout / "configs/datasets/own.yaml").read_text())["DATASET"]["FOLLOW_LINKS"] is True


def test_what_training_would_refuse_new_refuses_too(checkout, tmp_path, capsys):
    for part in ("train", "test"):
        save(tmp_path / f"own/{part}/cat/1.png"), save(tmp_path / f"own/{part}/cat/2.png")
    save(tmp_path / "own/test/dog/1.png")
    assert new(tmp_path / "own") == 2
    assert "class 'dog' has no readable image to train on" in capsys.readouterr().err
    assert not list(checkout.rglob("*.yaml"))


def test_own_images_are_checked_and_exported_with_their_config(root, checkout, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path / "elsewhere"))
    lines = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.*g"))]
    (root / "list.csv").write_text("\n".join(["path,label", *lines]))
    assert new(root, "--csv", "list.csv") == 0
    capsys.readouterr()
    assert main(["datasets", "check", "own", "--images"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"own: NOT COMPLETE  ({root})") and "cannot be read" in out and "photo nº 2.jpg" in out
    assert "prepare" not in out
    (root / "sea eagle/photo nº 2.jpg").write_bytes((root / "sea eagle/photo nº 1.jpg").read_bytes())
    assert main(["datasets", "check", "own", "--images"]) == 0
    asked = ["own", "--shots", "1", "--seeds", "1", "--output", str(tmp_path / "out")]
    assert main(["datasets", "export-splits", *asked]) == 0
    exported = tmp_path / "out" / root.name / "split_fewshot/list/shot_1-seed_1.jsonl"
    assert exported.is_file() and (root / "split_fewshot/list/shot_1-seed_1.jsonl").is_file()
    assert main(["datasets", "import-split", "own", str(exported), "--seed", "9"]) == 0
    assert (root / "split_fewshot/list/shot_1-seed_9.jsonl").is_file()


@pytest.mark.skipif(bool(HEIF), reason="what is left out differs where HEIC is read")
def test_ten_oddities_give_a_summary_to_act_on_which_the_documentation_shows(checkout, tmp_path, capsys):
    root = make_odd_tree(tmp_path / "photos")
    assert main(["datasets", "new", str(root)]) == 0
    text = capsys.readouterr().out.replace(str(root), "photos").replace(f"{checkout}/", "")
    shown = Path("DATASETS.md").read_text(encoding="utf-8").split("$ mocoop datasets new photos\n")[1].split("```")[0]
    text, shown = (re.sub(r"cut.jpg \(.+?\)", "cut.jpg", " ".join(one.split())) for one in (text, shown))
    assert text == shown  # but for what PIL says of a damaged file
