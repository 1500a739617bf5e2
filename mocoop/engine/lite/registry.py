"""Name -> object registries, so that a config file can name a trainer, a dataset or an evaluator."""

import difflib

from mocoop.errors import ConfigError


class Registry:
    """Objects by name. `register` works as a decorator, `@R.register()`, and as a call, `R.register(obj)`."""

    def __init__(self, name):
        self._name = name
        self._objects = {}

    def register(self, obj=None, force=False):
        """Register `obj` under its `__name__`. Raises KeyError if the name is taken, unless `force`."""
        if obj is None:
            return lambda decorated: self.register(decorated, force)
        if obj.__name__ in self._objects and not force:
            raise KeyError(f'"{obj.__name__}" is already registered in {self._name}')
        self._objects[obj.__name__] = obj
        return obj

    def get(self, name):
        """The object called `name`. Raises KeyError if there is none."""
        if name not in self._objects:
            raise KeyError(f'got "{name}", expected a name registered in {self._name}: {sorted(self._objects)}')
        return self._objects[name]

    def registered_names(self) -> list[str]:
        return list(self._objects)

    def build(self, key, name, cfg, **options):
        """The object called `name`, built from a config; `key` is where the user set the name.

        Raises ConfigError, with the nearest known name, if there is none.
        """
        if name not in self._objects:
            close = difflib.get_close_matches(name, self._objects, n=1, cutoff=0.4)
            hint = f' (did you mean "{close[0]}"?)' if close else ""
            raise ConfigError(f'{key}: got "{name}", expected one of {sorted(self._objects)}{hint}')
        if cfg.VERBOSE:
            print(f"Loading {self._name.lower()}: {name}")
        return self._objects[name](cfg, **options)


TRAINER_REGISTRY = Registry("TRAINER")
DATASET_REGISTRY = Registry("DATASET")


def build_trainer(cfg):
    """The trainer that TRAINER.NAME names, built. Raises ConfigError for an unknown name."""
    return TRAINER_REGISTRY.build("TRAINER.NAME", cfg.TRAINER.NAME, cfg)
