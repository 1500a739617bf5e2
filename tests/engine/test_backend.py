import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mocoop.engine
from mocoop.engine import VARIABLE, choose_backend, dassl_is_installed, import_dassl
from mocoop.errors import ConfigError, MocoopError

ROOT = Path(__file__).parents[2]

NAMES = """
BACKEND TRAINER_REGISTRY TrainerX build_trainer DATASET_REGISTRY DatasetBase Datum DataManager get_cfg_default
build_transform
""".split()


def open_bridge():
    """The bridge as a fresh process would see it, with the names that it exports as attributes."""
    return SimpleNamespace(**runpy.run_path(mocoop.engine.__file__))


@pytest.fixture
def fake_dassl(tmp_path, monkeypatch):
    """Puts a package `dassl` with the given source on the path, and takes an installed Dassl off it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "dassl"]:
        monkeypatch.delitem(sys.modules, name)
    others = [place for place in sys.path if not (Path(place) / "dassl").is_dir()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *others])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in str(finder)])

    def make(source):
        (tmp_path / "dassl").mkdir()
        (tmp_path / "dassl" / "__init__.py").write_text(source)
        return tmp_path

    yield make
    sys.modules.pop("dassl", None)


def test_the_choice(fake_dassl, monkeypatch, tmp_path):
    for wanted, expected in {"auto": "lite", "": "lite", "lite": "lite"}.items():
        monkeypatch.setenv(VARIABLE, wanted)
        assert choose_backend() == expected
    fake_dassl("raise RuntimeError('must not be imported to be found')")
    for wanted, expected in {"auto": "dassl", "AUTO": "dassl", "dassl": "dassl", "lite": "lite"}.items():
        monkeypatch.setenv(VARIABLE, wanted)
        assert choose_backend() == expected


def test_a_bare_folder_is_no_dassl(fake_dassl, tmp_path):
    (tmp_path / "dassl").mkdir()
    assert not dassl_is_installed()


def test_unknown_choice(monkeypatch):
    monkeypatch.setenv(VARIABLE, "keras")
    with pytest.raises(ConfigError, match='MOCOOP_ENGINE: got "keras", expected one of auto, dassl, lite'):
        choose_backend()


def test_asked_for_but_absent(fake_dassl, monkeypatch):
    monkeypatch.setenv(VARIABLE, "dassl")
    with pytest.raises(ImportError, match="Dassl is not installed; get it from .* MOCOOP_ENGINE=lite") as caught:
        choose_backend()
    assert isinstance(caught.value, MocoopError)


@pytest.mark.parametrize(
    "source, message",
    [
        ("import no_such_module.part", 'needs the module "no_such_module"; pip install no_such_module '),
        ("import json; json.no_such_name", "AttributeError: .*no_such_name.*; fix that installation"),
    ],
)
def test_a_broken_dassl_is_named_and_never_passed_over(fake_dassl, source, message):
    fake_dassl(source)
    with pytest.raises(ImportError, match=f"{message}.* MOCOOP_ENGINE=lite uses the built-in engine") as caught:
        import_dassl("dassl")
    assert "\n" not in str(caught.value)


def test_importing_dassl_leaves_logging_as_it_was(fake_dassl):
    fake_dassl("import logging; logging.disable(logging.WARNING)")
    import_dassl("dassl")
    assert logging.root.manager.disable == logging.NOTSET


def test_the_bridge_does_not_fall_back_from_a_broken_dassl(fake_dassl, monkeypatch):
    fake_dassl("import no_such_module")
    monkeypatch.setenv(VARIABLE, "auto")
    with pytest.raises(ImportError, match='needs the module "no_such_module"'):
        open_bridge()
    monkeypatch.setenv(VARIABLE, "lite")
    assert open_bridge().BACKEND == "lite"


@pytest.mark.parametrize("engine, source", [("dassl", None), ("auto", "import no_such_module")])
def test_a_run_with_a_broken_engine_ends_in_one_line(tmp_path, engine, source):
    if source:
        (tmp_path / "dassl").mkdir()
        (tmp_path / "dassl" / "__init__.py").write_text(source)
    elif dassl_is_installed():
        pytest.skip("Dassl is installed here")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, ROOT / "train.py", "--trainer", "CoOp", "--output-dir", str(tmp_path / "out")],
        env={**os.environ, VARIABLE: engine, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1 and "Dassl is" in ended.stderr


def test_the_bridge_has_all_its_names(monkeypatch):
    monkeypatch.setenv(VARIABLE, "lite")
    assert [name for name in NAMES if not hasattr(open_bridge(), name)] == []
