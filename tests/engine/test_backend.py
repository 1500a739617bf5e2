import logging
import runpy
import sys
from types import SimpleNamespace

import pytest

import mocoop.engine
from mocoop.engine.backend import VARIABLE, choose_backend, dassl_is_installed, import_dassl
from mocoop.errors import ConfigError, MocoopError

NAMES = """
BACKEND TRAINER_REGISTRY TrainerX build_trainer DATASET_REGISTRY DatasetBase Datum DataManager get_cfg_default
build_transform
""".split()


def open_bridge():
    """The bridge as a fresh process would see it, with the names that it exports as attributes."""
    return SimpleNamespace(**runpy.run_path(mocoop.engine.__file__))


@pytest.fixture
def fake_dassl(tmp_path, monkeypatch):
    """Puts a package `dassl` with the given source on the path."""
    for name in [name for name in sys.modules if name.split(".")[0] == "dassl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if "assl" not in p)])

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
        ("import json; json.no_such_name", "AttributeError: .*no_such_name.*; mend that installation"),
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


def test_the_bridge_has_all_its_names(monkeypatch):
    monkeypatch.setenv(VARIABLE, "lite")
    assert [name for name in NAMES if not hasattr(open_bridge(), name)] == []
