"""CLIP's weights as people have them: files and folders, whatever wraps them, by their makers' names.

Nothing in a file is executed: pickles hold tensors and plain values, or are refused.
"""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mocoop.clip.identity import kept_sha256
from mocoop.clip.jit_archive import is_jit_archive, read_jit_archive
from mocoop.clip.openai import MODEL_URLS
from mocoop.errors import CheckpointError, DataError, one_line, reason_of
from mocoop.files import check_zip, file_sha256, read_json

IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")  # as `save_pretrained` names them; or an index of their parts
INDEX = ".index.json"
# A name that each CLIP has, behind whatever prefix: OpenAI's and open_clip's, and Hugging Face's.
MARKS = ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # taken before others, such as an average of the weights
DEEPEST = 3  # wrappers


def weights_in(path: Path) -> list[Path]:
    """The files that hold the weights of a path: itself, or those of a folder. Raises CheckpointError for none."""
    if not path.is_dir():
        return [path]
    for name in IN_FOLDERS:
        if (path / name).is_file():
            return [path / name]
        if (path / (name + INDEX)).is_file():
            return _parts(path / (name + INDEX))
    if (path / "open_clip_config.json").is_file():
        raise CheckpointError(f"{path} is a model of open_clip's, name it open_clip:local-dir:{path}")
    raise CheckpointError(f"{path} holds no weights, expected {' or '.join(IN_FOLDERS)}, or an {INDEX[1:]} of these")


def _parts(index: Path) -> list[Path]:
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("it names no files beside it")
    except (DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{index} is no index of weights: {reason_of(error)}") from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(f"{index} names {', '.join(map(one_line, missing))}, which is not there: fetch it too")
    return [index.parent / name for name in names]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of the CLIP that a file or folder holds, without what wraps them.

    Raises CheckpointError for what cannot be read, holds no CLIP, or more than one.
    """
    files = weights_in(path)
    parts = [_read_file(file) for file in files]
    loaded = (
        parts[0] if len(parts) == 1 else {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
    )
    found = list(_clips(loaded))
    if len(found) > 1:
        found = next(filter(None, ([clip for clip in found if clip[0] == name] for name in ("", *WRAPPERS))), found)
    if len(found) != 1:
        raise CheckpointError(_no_clip(path, loaded, found))
    _, prefix, tensors = found[0]
    named = {name: value for name, value in tensors.items() if isinstance(name, str) and name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in named.items()} if prefix else tensors


def _clips(loaded: object, wrapper: str = "", depth: int = 0) -> Iterator[tuple[str, str, dict]]:
    """Each CLIP in nested dictionaries: the name of what wraps it, the prefix of its names, and the dictionary."""
    if not isinstance(loaded, dict):
        return
    for name, value in loaded.items():
        if isinstance(name, str):
            yield from ((wrapper, name.removesuffix(mark), loaded) for mark in MARKS if _ends(name, mark))
            if depth < DEEPEST:
                yield from _clips(value, name, depth + 1)


def _ends(name: str, mark: str) -> bool:
    return name == mark or name.endswith("." + mark)


def _no_clip(path: Path, loaded: object, found: list) -> str:
    if found:
        places = ", ".join(one_line(f"{wrapper or 'the file'}: {prefix}*", 80) for wrapper, prefix, _ in found[:4])
        return f"{path} holds {len(found)} CLIPs ({places}), expected one: save the state dict of one alone"
    if re.search(r"-\d+-of-\d+", path.name):
        return f"{path} is one part of a CLIP's weights: name its folder"
    names = [name for name in loaded if isinstance(name, str)] if isinstance(loaded, dict) else []
    if any("visual.trunk." in name for name in names):
        return f"{path} holds a model of open_clip's: name which, such as open_clip:ViT-B-16-SigLIP/{path.name}"
    shown = ", ".join(one_line(name, 60) for name in names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
    what = shown or f"a {type(loaded).__name__}"
    return (
        f"{path} holds no CLIP weights: found {what}, expected OpenAI's names, such as {MARKS[0]}, or Hugging Face's, "
        f"such as {MARKS[1]}"
    )


def _read_file(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not is_jit_archive(path):
            return load_plain(path)
    except Exception as error:  # damage shows as many kinds of errors
        raise CheckpointError(f"cannot read {path} as CLIP weights: {why_unreadable(error)}") from error
    try:
        return read_jit_archive(path)
    except CheckpointError:
        if not is_published(path):
            raise
        return torch.jit.load(path, map_location="cpu").state_dict()  # OpenAI's own file, by its hash


def is_published(path: Path) -> bool:
    """Whether a file is one of OpenAI's, by its hash."""
    published = {url.split("/")[-2] for url in MODEL_URLS.values()}
    return path.is_file() and kept_sha256([path], "file", lambda: file_sha256(path)) in published


def load_plain(path: Path) -> Any:
    """What torch.save wrote, on the CPU. Raises many kinds of errors for a file that is damaged or could run code."""
    check_zip(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def why_unreadable(error: Exception) -> str:
    """Why `load_plain` failed, in words for a message."""
    refused = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused is None:
        return f"it is damaged, or no file of weights: {reason_of(error, 100)}"
    name = one_line(refused[1], 80)
    return (
        f'it holds an object "{name}", expected only tensors and plain values; it could run code: where it can be '
        "trusted, save its state_dict() instead"
    )
