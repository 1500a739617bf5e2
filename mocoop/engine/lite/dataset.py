"""What a dataset is to the engine: lists of `Datum`, in a class that DATASET_REGISTRY knows by name."""

import os
from collections.abc import Sequence

from mocoop.errors import DataError


class Datum:
    """One labelled image, read-only: its file, class label, domain label and class name.

    Raises DataError if there is no such file.
    """

    __slots__ = ("_impath", "_label", "_domain", "_classname")

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = ""):
        if not isinstance(impath, str):
            raise TypeError(f"impath: got {type(impath).__name__}, expected str")
        if not os.path.isfile(impath):
            raise DataError(f'no image file "{impath}"; check DATASET.ROOT and the dataset\'s split file')
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        return self._impath

    @property
    def label(self) -> int:
        return self._label

    @property
    def domain(self) -> int:
        return self._domain

    @property
    def classname(self) -> str:
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self.impath!r}, label={self.label}, domain={self.domain}, classname={self.classname!r})"


Images = list[Datum]


class DatasetBase:
    """Training, validation and test images (lists of Datum), and the class names found in the training images.

    All of it is read-only once built, as it is in Dassl.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    domains: list[str] = []  # names of all domains

    def __init__(
        self,
        train_x: Images | None = None,
        train_u: Images | None = None,
        val: Images | None = None,
        test: Images | None = None,
    ):
        if not train_x:
            raise DataError(f"{type(self).__name__}: the training split is empty, expected at least one image")
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self) -> Images:
        return self._train_x

    @property
    def train_u(self) -> Images | None:
        return self._train_u

    @property
    def val(self) -> Images | None:
        return self._val

    @property
    def test(self) -> Images | None:
        return self._test

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        return self._classnames

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
