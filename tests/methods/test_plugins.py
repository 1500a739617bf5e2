"""Plugins that are wrong, refused when they are loaded in one line with the file; and plugins that were lost before."""

import re
import sys

import pytest

from mocoop import registry
from mocoop.errors import ConfigError
from mocoop.methods import load_plugin
from mocoop.registry import listed
from tests.plugins import MAP, write_plugin


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test loads is gone after it."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_two_files_of_one_name_are_both_loaded(tmp_path):
    first = write_plugin(tmp_path / "a", name="First")
    second = write_plugin(tmp_path / "b", name="Second")
    assert (load_plugin(first), load_plugin(second), load_plugin(first)) == (["First"], ["Second"], ["First"])


def test_it_may_import_a_file_beside_it(tmp_path):
    (tmp_path / "beside_mine.py").write_text("TITLE = 'x'")
    path = write_plugin(tmp_path)
    path.write_text("import beside_mine\n" + path.read_text())
    assert load_plugin(path) == ["Mine"]


def test_but_not_get_another_in_its_place(tmp_path):
    for folder, module in (("a", "shared_beside"), ("b", "shared_beside"), ("c", "json")):
        path = write_plugin(tmp_path / folder, name=folder.upper())
        (tmp_path / folder / f"{module}.py").write_text("")
        path.write_text(f"from {module} import __name__ as beside\n" + path.read_text())
    load_plugin(tmp_path / "a/mine.py")
    with pytest.raises(
        ConfigError, match=r"b/mine.py: it imports shared_beside, which is .*a/shared_beside.py and not"
    ):
        load_plugin(tmp_path / "b/mine.py")
    with pytest.raises(ConfigError, match=r"c/mine.py: it imports json, which is .*/json/__init__.py and not the file"):
        load_plugin(tmp_path / "c/mine.py")


KEY = 'Key("{}", {}, "of a test")'


@pytest.mark.parametrize(
    "about, message",
    [
        ('node="COOP", keys=(Key("A", 1, "a"),)', "Mine has the node COOP, which is that of CoOp: take another"),
        ('node="COOP"', "Mine has the node COOP, which is that of CoOp"),
        ('node="NAME"', "node of the method Mine is 'NAME', expected letters, digits and _"),
        ('node="A B"', "node of the method Mine is 'A B', expected"),
        (
            'node="M", keys=(Key("A", 1, "a"), Key("B", 1, "b"), Key("A", 2, "a"))',
            "Mine has two keys called A, expected one",
        ),
        ('node="M", keys=(Key("A.B", 1, "a"),)', "a key is called 'A.B', expected letters, digits and _"),
        (
            'node="M", keys=(Key("A", {}, "a"),)',
            "the default of the key A is {}, expected one of bool, int, float, str",
        ),
        ('node="M", keys=("A",)', "Mine has 'A' among its keys, expected each to be a Key"),
        ('learns="yes"', "learns of the method Mine is 'yes', expected True or False"),
        ('export="onnx"', "export of the method Mine is 'onnx', expected one of 'product', 'features'"),
        ('export="features"', 'Mine .* with export="features", expected it to implement scoring_tensors'),
        ("expert=True", r"Mine \(.*mine.py\) is registered with expert=True, expected a key CTX_INIT of words"),
        ("dept_base=True", "Mine .* is registered with dept_base=True and overrides transform_image, expected one"),
        ("lerns=True", "Mine is registered with lerns, expected node, published, title, learns, new_classes"),
    ],
)
def test_what_it_says_of_its_method_is_judged(tmp_path, about, message):
    path = write_plugin(tmp_path, MAP, about=about)
    known = dict(registry._ENTRIES)
    with pytest.raises(ConfigError, match=f"^plugin {re.escape(str(path))}.*{message}") as caught:
        load_plugin(path)
    assert "\n" not in str(caught.value)
    assert registry._ENTRIES == known, "nothing of it is left"


@pytest.mark.parametrize("name", ["a/b", "a b", "", "../x", "é"])
def test_a_name_that_cannot_be_a_folder_is_refused_by_reader_and_registry(tmp_path, name):
    path = tmp_path / "mine.py"
    path.write_text(write_plugin(tmp_path, name="Mine").read_text().replace('"Mine"', repr(name)))
    for load in (load_plugin, lambda path: listed((str(path),))):
        with pytest.raises(
            ConfigError, match=r"mine.py: a method is called .*, expected letters, digits and _ \. \+ -"
        ):
            load(path)


@pytest.mark.parametrize("published", ["2026", "November 2026", "2026-13"])
def test_so_is_a_date_that_is_none(tmp_path, published):
    path = write_plugin(tmp_path)
    path.write_text(path.read_text().replace("2026-11", published))
    for load in (load_plugin, lambda path: listed((str(path),))):
        with pytest.raises(
            ConfigError, match=f"published of the method Mine is '{published}', expected year and month"
        ):
            load(path)


def test_so_is_the_node_of_another_method(tmp_path):
    path = write_plugin(tmp_path, about='node="MAPLE"')
    with pytest.raises(ConfigError, match=f"maple.py and {path} both declare the node MAPLE, expected one each"):
        listed((str(path),))


@pytest.mark.parametrize(
    "line, message",
    [
        ("import sys; sys.exit(3)", "fails: SystemExit: 3"),
        ("sys.exit()", "fails: NameError: name 'sys' is not defined"),
        ("import no_such_module", "fails: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_happens_at_its_import_is_one_line(tmp_path, line, message):
    path = write_plugin(tmp_path)
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(ConfigError, match=f"^plugin {re.escape(str(path))} {message}"):
        load_plugin(path)
    assert "Mine" not in registry._ENTRIES


@pytest.mark.parametrize(
    "body, message",
    [
        (
            "    def image_features(self, image): ...",
            r": Mine \(.*\) overrides image_features, which is final: override",
        ),
        ("    forward = None", r": Mine \(.*\) overrides forward, which is final: override predict"),
        ("    encode_classes = PromptMethod.encode_classes", r": Mine .* implements neither encode_classes nor"),
    ],
)
def test_what_its_class_must_not_do_is_said(tmp_path, body, message):
    path = write_plugin(tmp_path, body)
    with pytest.raises(ConfigError, match=f"^plugin {re.escape(str(path))}{message}"):
        load_plugin(path)


def test_something_else_than_a_method_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from mocoop.methods import register_method\n"
                    "@register_method('Mine', published='2026-11', title='')\ndef mine(): ...\n")  # fmt: skip
    with pytest.raises(
        ConfigError, match=f"^plugin {path}: Mine is '?<function mine.*, expected a class below PromptMethod"
    ):
        load_plugin(path)


def test_a_plugin_that_is_no_python_file_is_named(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match=r"mine.txt cannot be imported, expected a file with the ending .py"):
        load_plugin(tmp_path / "mine.txt")
