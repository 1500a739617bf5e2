from pathlib import Path

import pytest

from mocoop import checkout
from mocoop.checkout import config_names, find_checkout, find_config, import_datasets, program
from mocoop.errors import ConfigError

HERE = Path(__file__).parents[1]


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The library as if it were installed, with copies of two configs; the folder is empty."""
    monkeypatch.setattr(checkout, "LIBRARY", tmp_path / "site/mocoop")
    monkeypatch.setattr(checkout, "SHIPPED", tmp_path / "site/mocoop/_shipped")
    for name in ("dtd", "eurosat"):
        write(checkout.SHIPPED / f"configs/datasets/{name}.yaml", "shipped")
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_the_checkout_is_found_upwards_and_a_package_of_the_same_name_is_not_taken_for_its_own(tmp_path):
    assert find_checkout(HERE / "tests/data") == HERE and program(HERE) == ["train.py"]
    assert find_checkout(tmp_path) == HERE  # the one that the library runs from
    for mark in checkout.MARKS:
        write(tmp_path / mark) if mark.endswith(".py") else (tmp_path / mark).mkdir()
    with pytest.raises(ConfigError, match=f"is in the way of {tmp_path}/datasets; run the command in the checkout"):
        import_datasets(tmp_path)


def test_an_installed_library_works_in_the_current_folder(installed, monkeypatch):
    monkeypatch.chdir(installed)
    write(installed / "train.py", "raise SystemExit('a file of the user')")
    assert find_checkout() == installed and program(installed) == ["-m", "mocoop.train"]
    assert find_checkout(HERE / "tests") == HERE


def test_a_config_is_the_folders_own_or_the_one_that_was_installed(installed):
    own = write(installed / "configs/datasets/dtd.yaml", "own")
    birds = write(installed / "configs/datasets/birds.yaml", "own")
    shipped = checkout.SHIPPED / "configs/datasets/eurosat.yaml"
    names = {"dtd": own, "birds": birds, "eurosat": shipped, "none": installed / "configs/datasets/none.yaml"}
    assert {name: find_config(installed, f"configs/datasets/{name}.yaml") for name in names} == names
    assert config_names(installed, "configs/datasets") == ["birds", "dtd", "eurosat"]
    assert find_config(installed, birds) == birds  # absolute paths stay
