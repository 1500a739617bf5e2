"""The registry: what the methods' files say, read without importing them, is what is registered."""

import subprocess
import sys
from importlib import metadata

import pytest

from mocoop import registry
from mocoop.errors import ConfigError
from mocoop.methods import PromptMethod, methods, register_method
from mocoop.methods.keys import Key
from mocoop.registry import DECLARED, ENTRY_POINTS, listed

PLUGIN = """
from mocoop.methods import PromptMethod, register_method

@register_method("Later", published="2999-01", title="of tomorrow")
class Later(PromptMethod):
    pass
"""


def test_it_is_the_registry():
    known = ("name", *DECLARED)
    said, registered = ([[getattr(m, key) for key in known] for m in found().values()] for found in (listed, methods))
    assert said == registered


def test_torch_is_not_imported():
    code = "import sys; from mocoop.registry import listed; listed(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_plugin_is_read_without_running_it(tmp_path):
    path = tmp_path / "later.py"
    for text in (PLUGIN, PLUGIN.replace("@register", "@methods.register")):
        path.write_text(text)
        found = listed((str(path),))
        assert list(found)[-1] == "Later" and found["Later"].file == path and found["Later"].learns
        assert "Later" not in listed()


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1", "registers no method"),
        ("def broken(", "cannot be read as Python"),
        ("@register_method(NAME, published='2999-01')\nclass A: ...", "no plain name and published date"),
        (PLUGIN.replace("Later", "CoOp"), "both declare a method called CoOp"),
    ],
)
def test_a_plugin_that_declares_nothing_is_one_line(tmp_path, text, message):
    path = tmp_path / "plugin.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        listed((str(path),))
    with pytest.raises(ConfigError, match="there is no plugin"):
        listed((str(tmp_path / "none.py"),))


def test_an_entry_point_of_a_package_that_is_gone_is_named(monkeypatch):
    gone = metadata.EntryPoint("later", "gone.methods", ENTRY_POINTS)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [gone])
    with pytest.raises(ConfigError, match=r"entry point later of mocoop.methods \(gone.methods\) fails: No module"):
        list(registry._own_files())


def test_keys_need_a_node():
    register = register_method("Later", published="2999-01", title="of tomorrow", keys=(Key("N", 1, "a number"),))
    with pytest.raises(ConfigError, match='Later has keys and no node, expected node="..."'):
        register(PromptMethod)
