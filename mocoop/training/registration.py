"""Every registered method as a trainer of the engine in use."""

from mocoop.engine import TRAINER_REGISTRY
from mocoop.methods import get_method, methods
from mocoop.training.trainer import PromptTrainer


def trainer_of(name: str) -> type[PromptTrainer]:
    """The trainer of a method, which is registered under its name. Raises ConfigError for an unknown method."""
    entry = get_method(name)
    if name not in TRAINER_REGISTRY.registered_names():
        attributes = {"__doc__": f"Trains {name}: {entry.title}.", "__module__": PromptTrainer.__module__}
        TRAINER_REGISTRY.register()(type(name, (PromptTrainer,), attributes))
    return TRAINER_REGISTRY.get(name)


def register_trainers() -> None:
    """Register the trainers of all methods that have none yet, those of plugins too."""
    for name in methods():
        trainer_of(name)
