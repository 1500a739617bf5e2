"""What a config names: classes by name, and what a dataset is to the engine, lists of `Datum`."""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from yacs.config import CfgNode

from mocoop.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mocoop.engine.lite import TrainerX

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of T by name. `register` works as a decorator, `@R.register()`, and as a call, `R.register(obj)`."""

    def __init__(self, name: str):
        self._name = name
        self._objects: dict[str, type[T]] = {}

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


@dataclass(frozen=True, slots=True, eq=False)
class Datum:
    """One labelled image, read-only: its file, class label, domain label and class name.

    Raises DataError if there is no such file.
    """

    impath: str = ""
    label: int = 0
    domain: int = 0
    classname: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.impath, str):
            raise TypeError(f"impath: got {type(self.impath).__name__}, expected str")
        if not os.path.isfile(self.impath):
            raise DataError(f'no image file "{self.impath}"; check DATASET.ROOT and the dataset\'s split file')


Images = list[Datum]


def _read_only(name: str) -> Any:
    return property(attrgetter(name))


class DatasetBase:
    """Training, validation and test images (lists of Datum), and the class names found in the training images.

    All of it is read-only once built, as it is in Dassl.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    domains: list[str] = []  # names of all domains
    train_x: Images = _read_only("_train_x")
    train_u: Images | None = _read_only("_train_u")
    val: Images | None = _read_only("_val")
    test: Images | None = _read_only("_test")
    num_classes: int = _read_only("_num_classes")
    lab2cname: dict[int, str] = _read_only("_lab2cname")
    classnames: list[str] = _read_only("_classnames")

    def __init__(
        self,
        train_x: Images | None = None,
        train_u: Images | None = None,
        val: Images | None = None,
        test: Images | None = None,
    ):
        if not train_x:
            raise DataError(f"{type(self).__name__}: the training split is empty, expected at least one image")
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum]) -> int:
        """One more than the largest label."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """({label: class name}, class names in label order)."""
        found = {item.label: item.classname for item in data_source}
        mapping = {label: found[label] for label in sorted(found)}
        return mapping, list(mapping.values())
