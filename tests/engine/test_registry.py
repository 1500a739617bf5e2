import pytest
from yacs.config import CfgNode

from mocoop.engine.lite.registry import Registry
from mocoop.errors import ConfigError


def test_register_as_decorator_and_as_call():
    registry = Registry("PLANT")

    @registry.register()
    class Oak:
        pass

    class Elm:
        pass

    registry.register(Elm)
    assert registry.get("Oak") is Oak and registry.get("Elm") is Elm
    assert registry.registered_names() == ["Oak", "Elm"]


def test_a_name_is_taken_once_unless_forced():
    registry = Registry("PLANT")
    first, second = type("Oak", (), {}), type("Oak", (), {})
    registry.register(first)
    with pytest.raises(KeyError, match='"Oak" is already registered in PLANT'):
        registry.register(second)
    registry.register(second, force=True)
    assert registry.get("Oak") is second


def test_unknown_names():
    with pytest.raises(KeyError, match='got "Oak", expected a name registered in PLANT'):
        Registry("PLANT").get("Oak")
    registry = Registry("PLANT")
    registry.register(type("Birch", (), {"__init__": lambda self, cfg: None}))
    cfg = CfgNode({"VERBOSE": False})
    with pytest.raises(ConfigError, match=r'PLANT.NAME: got "Brch", expected one of .*did you mean "Birch"'):
        registry.build("PLANT.NAME", "Brch", cfg)
    assert type(registry.build("PLANT.NAME", "Birch", cfg)).__name__ == "Birch"
