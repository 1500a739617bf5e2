"""Name -> object registries, so that a config file can name a trainer or a dataset."""

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
            return lambda decorated: self._add(decorated, force)
        return self._add(obj, force)

    def get(self, name):
        """The object called `name`. Raises KeyError if there is none."""
        if name not in self._objects:
            raise KeyError(f'got "{name}", expected a name registered in {self._name}: {sorted(self._objects)}')
        return self._objects[name]

    def registered_names(self) -> list[str]:
        return list(self._objects)

    def _add(self, obj, force):
        name = obj.__name__
        if name in self._objects and not force:
            raise KeyError(f'"{name}" is already registered in {self._name}')
        self._objects[name] = obj
        return obj


def check_availability(requested, available, key="name"):
    """Raise ConfigError, with the nearest known name, unless `requested` is one of `available`.

    `key` is what the user set, such as "TRAINER.NAME"; it opens the message.
    """
    if requested in available:
        return
    close = difflib.get_close_matches(requested, available, n=1, cutoff=0.4)
    hint = f' (did you mean "{close[0]}"?)' if close else ""
    raise ConfigError(f'{key}: got "{requested}", expected one of {sorted(available)}{hint}')
