"""What a CLIP is known by: the SHA-256 of its weights, whatever file they are in and wherever it lies.

Weights are hashed in fp32 as they are loaded, so that a copy, a file that moved, and another format with the same
values are the same CLIP. The hash is kept beside cached features, by what the system says of the files (size, times,
inode): it is computed once for each file, and anew when another takes its place.
"""

import copy
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mocoop.files import cache_folder, file_states, write_file

T = TypeVar("T", bound=nn.Module)
FORMAT = 1  # of what is hashed; another loader of the same files may give tensors of other names

logger = logging.getLogger(__name__)
_known: dict[str, str] = {}  # in this process, by key


def key_of(*parts: object) -> str:
    """SHA-256 over plain values."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def tensors_sha256(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in tensors:
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def module_sha256(module: nn.Module, without: str = "") -> str:
    """SHA-256 of a module's weights, those aside with `without` in their names.

    Kept with the module, and computed anew only after a tensor was replaced or written to.
    """
    tensors = _weights(module, without)
    state, kept = _state(tensors), module.__dict__.setdefault("_sha256", {})
    if without not in kept or kept[without][0] != state:
        kept[without] = state, tensors_sha256(tensors)
    return kept[without][1]


def copied(module: T) -> T:
    """A copy of a module and of its hashes, those of the modules in it too."""
    twin = copy.deepcopy(module)
    for original, other in zip(module.modules(), twin.modules()):
        for without, (state, sha256) in original.__dict__.get("_sha256", {}).items():
            if state == _state(_weights(original, without)):
                other.__dict__["_sha256"][without] = _state(_weights(other, without)), sha256
    return twin


def _weights(module: nn.Module, without: str) -> list[tuple[str, Tensor]]:
    everything = module.state_dict(keep_vars=True).items()
    return [(name, value) for name, value in everything if not without or without not in name]


def _state(tensors: list[tuple[str, Tensor]]) -> list[tuple]:
    return [(name, value.data_ptr(), value._version, value.dtype) for name, value in tensors]


def kept_sha256(files: Sequence[Path], kind: str, compute: Callable[[], str]) -> str:
    """What `compute` gives for these files, which is computed once; without files, each time."""
    if not files:
        return compute()
    key = files_key(files, kind)
    sha256 = found_sha256(files, kind) or compute()
    if key not in _known:
        _known[key] = sha256
        if path := _path(key):
            try:
                write_file(path, f"{sha256}\n")
            except OSError as error:  # it costs time, not the run
                logger.warning("the hash of a CLIP is not kept: %s", error)
    return sha256


def found_sha256(files: Sequence[Path], kind: str) -> str | None:
    """What was computed for these files before; None if nothing was, or one has changed since."""
    key = files_key(files, kind)
    if key in _known:
        return _known[key]
    try:
        text = path.read_text(encoding="ascii").strip() if (path := _path(key)) else ""
    except (OSError, ValueError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def files_key(files: Sequence[Path], kind: str) -> str:
    """What the system says of files, the times that no copying program can set too."""
    return key_of(FORMAT, kind, file_states([str(path.resolve()) for path in files]))


def _path(key: str) -> Path | None:
    folder = cache_folder()
    return folder / "clips" / key if folder else None
