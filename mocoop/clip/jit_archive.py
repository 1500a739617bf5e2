"""Weights from a TorchScript archive, the format of OpenAI's CLIP files, without running anything in it.

Such an archive is a zip file: `data.pkl` is a pickle of the module tree, `data/<n>` are the storages. The pickle is
read with an unpickler that knows tensors and plain containers, and stands in for every TorchScript class by a record
of its attributes; any other name is refused. `torch.jit.load` would run the code in the archive.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mocoop.errors import CheckpointError, one_line, reason_of

_STORAGE_DTYPES = {"HalfStorage": torch.half, "FloatStorage": torch.float, "LongStorage": torch.long}


class _Record:
    """Stands in for an instance of a TorchScript class: its attributes, by name."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Record
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch.jit._pickle" and (name.startswith("build_") or name == "restore_type_tag"):
            return lambda value, *_: value
        named = one_line(f"{module}.{name}", 80)
        raise pickle.UnpicklingError(f"it names {named}, which weights have no need of")

    def persistent_load(self, saved_id: Any) -> Tensor:
        _, dtype, key, _, size = saved_id
        data = bytearray(self.archive.read(f"{self.root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=size) if size else torch.empty(0, dtype=dtype)


def is_jit_archive(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with a pickle and code."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, LookupError):
        return False
    return any(name.endswith("/data.pkl") for name in names) and any("/code/" in name for name in names)


def read_jit_archive(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a TorchScript archive by their dotted name, on the CPU.

    Raises CheckpointError if the file is damaged or holds anything but a tree of modules with tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("/data.pkl")
            return dict(_tensors(_Unpickler(archive, root).load()))
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"cannot read the JIT archive {path}: {reason_of(error)}") from error


def _tensors(module: _Record, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of those within it, by their dotted name."""
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Record):
            yield from _tensors(value, f"{prefix}{name}.")
