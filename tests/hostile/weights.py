"""Checkpoints, pointers to them, and files of CLIP's weights."""

import io
import os
import pickle
import struct
import zipfile
from functools import cache

import torch
from safetensors.torch import save

from tests.hostile.payload import PAYLOADS, RAW
from tests.small_clip import small_clip


def saved(value, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@cache
def clip_state() -> dict:
    return small_clip().state_dict()


def jit(pickled: bytes, more: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED) -> bytes:
    """A TorchScript archive with this module tree."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {"data.pkl": pickled, "code/__torch__.py": b"", **(more or {})}.items():
            archive.writestr(f"x/{name}", content)
    return file.getvalue()


def learned(**changes) -> dict:
    """A checkpoint of CoOp over small_clip, two classes, with two context vectors."""
    method = {"name": "CoOp", "backbone": "small", "classnames": ["cat", "dog"], "structure": {}, "config": {}}
    return {"state_dict": {"ctx": torch.zeros(2, 64)}, "epoch": 1, "method": method, **changes}


def _expanded(*size: int) -> torch.Tensor:
    return torch.zeros(1).expand(*size)


def add_entries(add) -> None:
    _checkpoints(add)
    _pointers(add)
    _clips(add)
    _safetensors(add)


def _checkpoints(add) -> None:
    for name, payload in PAYLOADS.items():
        for zipped in (True, False):
            how = "zip" if zipped else "legacy"
            add("checkpoint", f"{name}, alone, {how}", saved(payload, zipped))
            add("checkpoint", f"{name}, in the weights, {how}", saved(learned(state_dict={"ctx": payload}), zipped))
            add("clip", f"{name}, {how}", saved({"visual.proj": payload}, zipped))
    for name, content in RAW.items():
        add("checkpoint", f"raw pickle: {name}", content)
        add("checkpoint", f"zip of a pickle: {name}", jit(content, {"version": b"3"}))
    whole = saved(learned())
    for size in (1, 30, len(whole) // 2, len(whole) - 1):
        add("checkpoint", f"cut to {size} bytes", whole[:size])
    add("checkpoint", "a pipe", lambda path: os.mkfifo(path))
    add("checkpoint", "a folder", lambda path: path.mkdir())
    for name, value in {
        "list": [1],
        "tensor": torch.zeros(3),
        "numbers as keys": {1: 2},
        "nothing": {},
        "no weights": {"epoch": 1},
        "weights a list": learned(state_dict=[1]),
        "weights of text": learned(state_dict={"ctx": "x"}),
        "weights by number": learned(state_dict={1: torch.zeros(2, 64)}),
        "weights of another size": learned(state_dict={"ctx": torch.zeros(3, 64)}),
        "a size that is not stored": learned(state_dict={"ctx": _expanded(10**6, 10**6)}),
        "more weights": learned(state_dict={"ctx": torch.zeros(2, 64), "x" * 10**5: torch.zeros(1)}),
        "epoch a text": learned(epoch="1"),
        "epoch missing": {"state_dict": {"ctx": torch.zeros(2, 64)}},
        "method a text": learned(method="CoOp"),
        "method empty": learned(method={}),
        "another method": learned(method=learned()["method"] | {"name": "x" * 10**5}),
        "class names of numbers": learned(method=learned()["method"] | {"classnames": [1, 2]}),
        "structure a list": learned(method=learned()["method"] | {"structure": [1]}),
    }.items():
        add("checkpoint", name, saved(value))


def _pointers(add) -> None:
    for name, content in {
        "up": "../outside/secret.jpg",
        "absolute": "/etc/passwd",
        "parent": "..",
        "this folder": ".",
        "empty": "",
        "below": "sub/model.pth.tar-1",
        "NUL": "model\0.pth.tar-1",
        "a million characters": "x" * 10**6,
        "two lines": "model.pth.tar-1\nmodel.pth.tar-2",
        "UTF-16": "model.pth.tar-1".encode("utf-16"),
        "not UTF-8": b"\xff\xfe",
        "a pickle": RAW["old opcode INST"],
    }.items():
        add("pointer", name, content)


def _clips(add) -> None:
    for name, payload in PAYLOADS.items():
        for protocol in (2, 5):
            add("clip", f"{name}, JIT, protocol {protocol}", jit(pickle.dumps(payload, protocol)))
    for name, content in RAW.items():
        add("clip", f"JIT: {name}", jit(content))
        add("clip", f"raw: {name}", content)
    add("clip", "JIT whose constants call out", jit(b"\x80\x02}.", {"constants.pkl": RAW["old opcode OBJ"]}))
    add("clip", "JIT with a module within itself", jit(_records(b"h\x01", times=1)))
    add("clip", "no weights", lambda path: torch.save({"a": torch.zeros(1)}, path))
    add("clip", "weights of text", lambda path: torch.save(dict.fromkeys(clip_state(), "x"), path))
    changes = {
        "a size that is not stored": ("visual.proj", lambda value: _expanded(10**6, 10**6)),
        "sizes that do not fit": ("ln_final.weight", lambda value: torch.zeros(200_000)),
        "an empty tensor": ("visual.conv1.weight", lambda value: torch.zeros(0)),
        "a number for a matrix": ("text_projection", lambda value: torch.tensor(1.0)),
        "no numbers": ("text_projection", lambda value: value * float("nan")),
        "whole numbers": ("visual.proj", lambda value: torch.zeros(3, dtype=torch.int64)),
        "a sparse matrix": ("text_projection", lambda value: value.to_sparse()),
        "a width that is no multiple of 64": ("visual.conv1.weight", lambda value: value[:63]),
        "one tensor missing": ("logit_scale", None),
    }
    for name, (key, change) in changes.items():
        add("clip", name, lambda path, key=key, change=change: torch.save(_changed(key, change), path))


def _changed(key: str, change) -> dict:
    state = dict(clip_state())
    state.pop(key) if change is None else state.update({key: change(state[key])})
    return state


def _records(child: bytes, times: int) -> bytes:
    """A module tree by hand: a record whose attributes are `child`."""
    attribute = b"X\x01\x00\x00\x00a" + child
    return b"\x80\x02c__torch__\nM\n)\x81q\x01}" + (b"(" + attribute * times + b"u") + b"b."


def _safetensors(add) -> None:
    whole = save({"a": torch.zeros(2)})
    for name, content in {
        "empty": b"",
        "header of all memory": struct.pack("<Q", 2**63) + b"{}",
        "header of 99 MB": struct.pack("<Q", 99 << 20) + b"{}",
        "header no JSON": struct.pack("<Q", 4) + b"abcd",
        "header nested": struct.pack("<Q", 50_000) + b"[" * 50_000,
        "offsets beyond the file": whole.replace(b"[0,8]", b"[0,9]"),
        "offsets backwards": whole.replace(b"[0,8]", b"[8,0]"),
        "a size of everything": whole.replace(b"[2]", b"[9]"),
        "kind unknown": whole.replace(b"F32", b"F99"),
        "cut": whole[:-1],
        "no CLIP": whole,
        "pickle": RAW["old opcode OBJ"],
    }.items():
        add("safetensors", name, content)
