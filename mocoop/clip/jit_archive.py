"""Weights from a TorchScript archive, the format of OpenAI's CLIP files, without running anything in it.

Such an archive is a zip file: `data.pkl` is a pickle of the module tree, `data/<n>` are the storages. The pickle is
read with an unpickler that knows tensors and plain containers, and stands in for every TorchScript class by a record
of its attributes; a name outside of that is refused.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mocoop.errors import CheckpointError, one_line, reason_of
from mocoop.torch_file import check_archive

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_MODULES = 100_000  # visits to modules; one that is shared at many levels is visited for ever


class _Record:
    """Stands in for an instance of a TorchScript class: its attributes, by name."""

    def __setstate__(self, state):
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise pickle.UnpicklingError(f"a module's state is a {type(state).__name__}, expected attributes by name")
        self.__dict__.update(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str):
        if module.startswith("__torch__"):
            return _Record
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch.jit._pickle" and (name.startswith("build_") or name == "restore_type_tag"):
            return lambda value, *_: value
        named = one_line(f"{module}.{name}", 80)
        raise pickle.UnpicklingError(f"it names {named}, which weights have no need of")

    def persistent_load(self, saved_id):
        kind, dtype, key, _, size = saved_id
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it refers to something outside of it that is no storage")
        data = bytearray(self.archive.read(f"{self.root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=size) if size else torch.empty(0, dtype=dtype)


def _rebuild_tensor(storage: Tensor, offset, size, stride, *_) -> Tensor:
    if math.prod(size) > storage.numel():  # repeats values that are stored once
        raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} has a storage of {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset)


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

    Raises CheckpointError where the file is damaged or holds anything but a tree of modules with tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, Path(path).stat().st_size)
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("/data.pkl")
            return dict(_tensors(_Unpickler(archive, root).load()))
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"cannot read the JIT archive {path}: {reason_of(error)}") from error


def _tensors(tree: _Record) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a tree of modules by their dotted name."""
    waiting, visited = [("", tree)], 0
    while waiting:
        prefix, node = waiting.pop()
        visited += 1
        if visited > _MOST_MODULES:
            raise pickle.UnpicklingError(f"it has more than {_MOST_MODULES:,} modules, or one within itself")
        for name, value in vars(node).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Record):
                waiting.append((f"{prefix}{name}.", value))
