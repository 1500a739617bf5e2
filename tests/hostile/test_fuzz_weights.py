"""Spoiled checkpoints, TorchScript archives and safetensors."""

import io
import tempfile
import warnings
import zipfile
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from mocoop.backbone import load_clip
from mocoop.clip.openai import CLIP
from mocoop.methods import build_method
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.run_state import check_made_for, learned_state, with_structure
from tests.hostile.fuzz import FUZZ, odd_json, spoiled, spoiled_json, value_or_refusal
from tests.hostile.readers import CLIP as SMALL
from tests.hostile.readers import config
from tests.hostile.weights import learned, saved
from tests.test_backbone import save_jit


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of odd pickles and tensors
        yield


def mini_clip() -> CLIP:
    """A CLIP of OpenAI's class that is as small as can be."""
    torch.manual_seed(0)
    return CLIP(8, 16, 1, 64, 8, 77, 10, 64, 1, 1).eval()


@cache
def jit_file() -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        save_jit(mini_clip(), file.name)
        return file.read()


@cache
def whole_file(kind: str) -> bytes:
    if kind == "jit":
        return jit_file()
    if kind == "safetensors":
        return save(mini_clip().state_dict())
    return saved(mini_clip().state_dict(), zipped=kind == "zip")


@cache
def checkpoint_file(zipped: bool) -> bytes:
    """The same bytes for every example: torch's old format holds addresses."""
    return saved(learned(), zipped)


def repacked(whole: bytes, member: str, content: bytes) -> bytes:
    """A zip archive with one member's content replaced, checksums right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(member) else old.read(info))
    return file.getvalue()


def member_of(whole: bytes, member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(member)))


def use_checkpoint(path):
    cfg, checkpoint = config(), load_checkpoint(path)
    check_made_for(cfg, checkpoint, path)
    structure = (checkpoint.get("method") or {}).get("structure", {})
    method = build_method(with_structure(cfg, structure), ["a", "b"], SMALL)
    method.load_learned_state(learned_state(checkpoint, path))
    return method


def use_clip(path):
    cfg = config()
    cfg.MODEL.BACKBONE.NAME = str(path)
    return load_clip(cfg)


def check(kind, use, path, content: bytes) -> None:
    path.write_bytes(content)
    value_or_refusal(kind, use, path)


ENDS = (0, 30, 60, 200)


@FUZZ
@given(data=st.data(), zipped=st.booleans())
def test_checkpoints(folder, data, zipped):
    whole = checkpoint_file(zipped)
    content = data.draw(spoiled(whole, near=(*ENDS, len(whole) - 100, len(whole) - 400)))
    check("checkpoint", use_checkpoint, folder / "m", content)


@FUZZ
@given(data=st.data())
def test_pickles_of_checkpoints(folder, data):
    whole = checkpoint_file(True)
    content = data.draw(spoiled(member_of(whole, "data.pkl")))
    check("checkpoint", use_checkpoint, folder / "m", repacked(whole, "data.pkl", content))


@FUZZ
@given(method=spoiled_json(learned()["method"]), state=odd_json, epoch=odd_json, how=st.integers(0, 2))
def test_values_of_checkpoints(folder, method, state, epoch, how):
    changes = [{"method": method}, {"state_dict": state}, {"epoch": epoch}][how]
    check("checkpoint", use_checkpoint, folder / "m", saved(learned(**changes)))


@FUZZ
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy"]))
def test_clip_of_torch(folder, data, kind):
    whole = whole_file(kind)
    content = data.draw(spoiled(whole, near=(*ENDS, 1000, len(whole) - 100, len(whole) - 2000)))
    check("CLIP file", use_clip, folder / "clip.pt", content)


@FUZZ
@given(data=st.data(), kind=st.sampled_from(["jit", "zip"]))
def test_pickles_of_clip(folder, data, kind):
    whole = whole_file(kind)
    content = data.draw(spoiled(member_of(whole, "data.pkl")))
    check(
        "JIT archive" if kind == "jit" else "CLIP file",
        use_clip,
        folder / "clip.pt",
        repacked(whole, "data.pkl", content),
    )


@FUZZ
@given(data=st.data())
def test_jit_archives(folder, data):
    whole = whole_file("jit")
    content = data.draw(spoiled(whole, near=(*ENDS, len(whole) - 100, len(whole) - 2000)))
    check("JIT archive", use_clip, folder / "clip.pt", content)


@FUZZ
@given(data=st.data())
def test_safetensors(folder, data):
    content = data.draw(spoiled(whole_file("safetensors"), near=(0, 8, 60, 500, 2000)))
    check("safetensors", use_clip, folder / "clip.safetensors", content)


def test_the_whole_files_are_read(folder):
    for kind in ("jit", "zip", "legacy", "safetensors"):
        path = folder / f"clip.{'safetensors' if kind == 'safetensors' else 'pt'}"
        path.write_bytes(whole_file(kind))
        assert torch.equal(use_clip(path).text_projection, mini_clip().text_projection)
    (folder / "m").write_bytes(saved(learned()))
    assert torch.equal(use_checkpoint(folder / "m").ctx, torch.zeros(2, 64))
