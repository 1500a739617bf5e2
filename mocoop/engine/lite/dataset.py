"""What a dataset is to the engine: lists of `Datum`, in a class that DATASET_REGISTRY knows by name."""

import os
from operator import attrgetter

from mocoop.errors import DataError


class Datum:
    """One labelled image, read-only: its file, class label, domain label and class name.

    Raises DataError if there is no such file.
    """

    __slots__ = ("_impath", "_label", "_domain", "_classname")
    impath = property(attrgetter("_impath"))
    label = property(attrgetter("_label"))
    domain = property(attrgetter("_domain"))
    classname = property(attrgetter("_classname"))

    def __init__(self, impath="", label=0, domain=0, classname=""):
        if not isinstance(impath, str):
            raise TypeError(f"impath: got {type(impath).__name__}, expected str")
        if not os.path.isfile(impath):
            raise DataError(f'no image file "{impath}"; check DATASET.ROOT and the dataset\'s split file')
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    def __repr__(self):
        return f"Datum({self.impath!r}, label={self.label}, domain={self.domain}, classname={self.classname!r})"


class DatasetBase:
    """Training, validation and test images (lists of Datum), and the class names found in the training images.

    All of it is read-only once built, as it is in Dassl.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    domains = []  # names of all domains

    train_x = property(attrgetter("_train_x"))
    train_u = property(attrgetter("_train_u"))
    val = property(attrgetter("_val"))
    test = property(attrgetter("_test"))
    num_classes = property(attrgetter("_num_classes"))
    lab2cname = property(attrgetter("_lab2cname"))
    classnames = property(attrgetter("_classnames"))

    def __init__(self, train_x=None, train_u=None, val=None, test=None):
        if not train_x:
            raise DataError(f"{type(self).__name__}: the training split is empty, expected at least one image")
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @staticmethod
    def get_num_classes(data_source) -> int:
        """One more than the largest label."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source) -> tuple[dict, list]:
        """({label: class name}, class names in label order)."""
        found = {item.label: item.classname for item in data_source}
        mapping = {label: found[label] for label in sorted(found)}
        return mapping, list(mapping.values())
