"""Features that are computed once and kept on disk, and those of hand-written templates.

What is kept lies in `mocoop.files.cache_folder`, one file for each set of features, under a key that holds all that its
values depend on, to the last bit: a stale one cannot be found, and a run gives the same numbers with and without it.
A file is written whole and then renamed, so that of two processes that write the same one either's counts, and neither
takes anything from the other. It is mapped into memory when it is read. With more than $MOCOOP_CACHE_GB (10 by default)
those go that were not used for the longest time.
"""

import functools
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.identity import key_of, module_sha256, tensors_sha256
from mocoop.clip.prompts import hard_prompts
from mocoop.clip.shares import is_together
from mocoop.clip.templates import fill
from mocoop.clip.text_encoder import TextEncoder
from mocoop.distributed import from_main, is_main, world_size
from mocoop.errors import ConfigError
from mocoop.files import TEMPORARY, cache_folder, write_file
from mocoop.timings import timed

LIMIT = "MOCOOP_CACHE_GB"
LEFTOVER_SECONDS = 3600  # after which a temporary file is one of a process that was killed
_CPU_INFO = Path("/proc/cpuinfo")

logger = logging.getLogger(__name__)


def hard_features(
    encoder: TextEncoder, templates: Sequence[str], classnames: Sequence[str], normalised: bool = True
) -> Tensor:
    """Features (T, C, D) of T templates filled with C class names, normalised by default.

    Raises ConfigError for a class name that makes a template too long for CLIP's context.
    """
    return sentence_features(encoder, [[fill(one, name) for name in classnames] for one in templates], normalised)


@torch.no_grad()
def sentence_features(encoder: TextEncoder, texts: Sequence[Sequence[str]], normalised: bool = True) -> Tensor:
    """Features (T, C, D) of T sentences for each of C classes, normalised by default.

    Raises ConfigError for one that is too long for CLIP's context.
    """
    clip_model = encoder.clip_model
    device = clip_model.logit_scale.device

    def compute() -> Tensor:
        layouts = [hard_prompts(row, clip_model.tokenizer).to(device) for row in texts]
        with torch.autocast(device.type, enabled=False):
            features = encoder([None] * len(layouts), layouts)
            return F.normalize(features, dim=-1) if normalised else features

    with timed("hard prompts"):
        if cache_folder() is None:  # nor is the tower hashed
            return compute()
        shared = [world_size()] if is_together() else []  # a share of the classes may have other last bits than all
        computed = [clip_model.anatomy, encoder.kind, encoder.tower.chunk, *computing(device), *shared]
        key = key_of(module_sha256(clip_model, without="visual."), computed, texts, normalised)
        return kept_tensor("text", key, compute).to(device)


def kept_tensor(kind: str, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """The tensor kept under a key, on the CPU; computed, and kept, where there is none."""
    if cache_folder() is None:
        return compute()
    found = from_main(lambda: read_kept(kind, key)) if is_together() else read_kept(kind, key)
    if found is not None:
        return found
    tensor = compute()
    if is_main() or not is_together():
        keep(kind, key, tensor)
    return tensor


def read_kept(kind: str, key: str) -> Tensor | None:
    """What `keep` wrote; None where it did not, or values have changed since."""
    path = _path(kind, key)
    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor("features")
            if (file.metadata() or {}).get("sha256") != tensors_sha256([("features", tensor)]):
                raise ValueError("the checksum is wrong")
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now; the folder may be mounted noatime
    except (SafetensorError, ValueError, OSError, RuntimeError) as error:
        if not path.exists():  # another process has just made room
            return None
        logger.warning("kept features in %s are damaged and computed again: %s", path, error)
        return None
    return tensor


def keep(kind: str, key: str, tensor: Tensor) -> None:
    """Write a tensor for later runs, where there is a cache and it fits in."""
    path, limit = _path(kind, key), _limit()
    if path is None or tensor.nbytes > limit:
        return
    tensor = tensor.detach().cpu().contiguous()
    try:
        write_file(path, save({"features": tensor}, {"sha256": tensors_sha256([("features", tensor)])}))
        _make_room(path, limit)
    except OSError as error:  # a cache that cannot be written costs time, not the run
        logger.warning("features are not kept: %s", error)


def computing(device: torch.device) -> list[object]:
    """What of a machine and of its settings can change the last bits of a tower's features, as plain values."""
    known: list[object] = [torch.__version__, device.type, torch.are_deterministic_algorithms_enabled()]
    if device.type == "cuda":
        flags = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
        return [*known, torch.cuda.get_device_name(device), *flags]
    return [*known, _processor(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]


@functools.cache
def _processor() -> str:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _path(kind: str, key: str) -> Path | None:
    folder = cache_folder()
    return folder / kind / f"{key}.safetensors" if folder else None


def _limit() -> float:
    """In bytes. Raises ConfigError for what is no number."""
    text = os.environ.get(LIMIT, "") or "10"
    try:
        return float(text) * 1e9
    except ValueError:
        raise ConfigError(f"{LIMIT} is {text!r}, expected a number of gigabytes, such as 10") from None


def _make_room(written: Path, limit: float) -> None:
    """Remove the files that were not used for the longest time, beside `written`, until the others fit."""
    folder = written.parents[1]
    for path in folder.glob("*/.*.tmp"):
        if TEMPORARY.fullmatch(path.name) and _age(path) > LEFTOVER_SECONDS:
            path.unlink(missing_ok=True)
    found = []
    for path in folder.glob("*/*.safetensors"):
        try:
            found.append((path.stat().st_atime_ns, path.stat().st_size, path))
        except FileNotFoundError:  # another process makes room too
            continue
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        if path != written:
            path.unlink(missing_ok=True)
            total -= size


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
