"""Features kept on disk, under keys that hold all that they depend on: a stale one cannot be found.

Folder: $MOCOOP_CACHE, by default ~/.cache/mocoop. It may be deleted at any time; with MOCOOP_CACHE=off nothing is kept.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mocoop.clip.shares import is_together
from mocoop.distributed import from_main, is_main
from mocoop.files import write_file

logger = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """Where features are kept, or None where they are not."""
    folder = os.environ.get("MOCOOP_CACHE", "~/.cache/mocoop")
    return None if folder in ("", "off") else Path(folder).expanduser()


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


def cached_tensor(kind: str, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """The tensor kept under a key, on the CPU; computed, and kept, where there is none."""
    folder = cache_folder()
    if folder is None:
        return compute()
    path = folder / kind / f"{key}.safetensors"
    found = from_main(lambda: _found(path)) if is_together() else _found(path)
    if found is not None:
        return found["features"]
    features = compute()
    if is_main() or not is_together():
        _keep(path, {"features": features.detach().cpu().contiguous()})
    return features


class ImageFeatureCache:
    """Features of images by the SHA-256 of their files, for one image tower and one transform; needs a `cache_folder`.

    Args:
        key: hash of all that turns a file's bytes into a feature.
    """

    def __init__(self, key: str):
        folder = cache_folder()
        if folder is None:
            raise ValueError("features of images are kept in a cache_folder, got MOCOOP_CACHE=off")
        self.path = folder / "images" / f"{key}.safetensors"
        self.features: dict[str, Tensor] = {}
        self._read()

    def save(self) -> None:
        """Write what is known, together with what others have written since."""
        self._read()
        names = sorted(self.features)
        digests = torch.tensor([list(bytes.fromhex(name)) for name in names], dtype=torch.uint8)
        _keep(self.path, {"digests": digests, "features": torch.stack([self.features[name] for name in names])})

    def _read(self) -> None:
        if stored := _found(self.path):
            names = [bytes(row).hex() for row in stored["digests"].tolist()]
            self.features = dict(zip(names, stored["features"])) | self.features


def _found(path: Path) -> dict[str, Tensor] | None:
    """What `_keep` wrote; None where it did not, or values have changed since."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            if (file.metadata() or {}).get("sha256") != _checksum(tensors):
                raise ValueError("the checksum is wrong")
        return tensors
    except (SafetensorError, ValueError, OSError) as error:
        logger.warning("cached features in %s are damaged and computed again: %s", path, error)
        return None


def _checksum(tensors: dict[str, Tensor]) -> str:
    return tensors_sha256(sorted(tensors.items()))


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        write_file(path, save(tensors, {"sha256": _checksum(tensors)}))
    except OSError as error:  # a cache that cannot be written costs time, not the run
        logger.warning("features are not cached: %s", error)
