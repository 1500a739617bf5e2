"""Name -> object registries, so that a config file can name a trainer or a dataset."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from yacs.config import CfgNode

from mocoop.errors import ConfigError

if TYPE_CHECKING:
    from mocoop.engine.lite.dataset import DatasetBase
    from mocoop.engine.lite.trainer import TrainerX

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


class Registry(Generic[T]):
    """Classes of T by name. `register` works as a decorator, `@R.register()`, and as a call, `R.register(obj)`."""

    def __init__(self, name: str):
        self._name = name
        self._objects: dict[str, type[T]] = {}

    @overload
    def register(self, obj: None = None, force: bool = False) -> Callable[[Class], Class]: ...

    @overload
    def register(self, obj: Class, force: bool = False) -> Class: ...

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register `obj` under its `__name__`. Raises KeyError if the name is taken, unless `force`."""
        if obj is None:
            return lambda decorated: self.register(decorated, force)
        if obj.__name__ in self._objects and not force:
            raise KeyError(f'"{obj.__name__}" is already registered in {self._name}')
        self._objects[obj.__name__] = obj
        return obj

    def get(self, name: str) -> type[T]:
        """The object called `name`. Raises KeyError if there is none."""
        if name not in self._objects:
            raise KeyError(f'got "{name}", expected a name registered in {self._name}: {sorted(self._objects)}')
        return self._objects[name]

    def registered_names(self) -> list[str]:
        return list(self._objects)

    def build(self, key: str, name: str, cfg: CfgNode, **options: Any) -> T:
        """The object called `name`, built from a config; `key` is where the user set the name.

        Raises ConfigError, with the nearest known name, if there is none.
        """
        if name not in self._objects:
            close = difflib.get_close_matches(name, self._objects, n=1, cutoff=0.4)
            hint = f' (did you mean "{close[0]}"?)' if close else ""
            raise ConfigError(f'{key}: got "{name}", expected one of {sorted(self._objects)}{hint}')
        if cfg.VERBOSE:
            print(f"Loading {self._name.lower()}: {name}")
        make: Callable[..., T] = self._objects[name]
        return make(cfg, **options)


TRAINER_REGISTRY: "Registry[TrainerX]" = Registry("TRAINER")
DATASET_REGISTRY: "Registry[DatasetBase]" = Registry("DATASET")


def build_trainer(cfg: CfgNode) -> "TrainerX":
    """The trainer that TRAINER.NAME names, built. Raises ConfigError for an unknown name."""
    return TRAINER_REGISTRY.build("TRAINER.NAME", cfg.TRAINER.NAME, cfg)
