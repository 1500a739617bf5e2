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

from mocoop.clip.openai import CLIP
from tests.hostile.fuzz import FUZZ, odd_json, spoiled, spoiled_json, value_or_refusal
from tests.hostile.readers import use_checkpoint, use_clip
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


ENDS = (0, 30, 60, 200)


@st.composite
def spoiled_file(draw, whole: bytes) -> bytes:
    """A file with its bytes spoiled, or the pickle in it, behind right checksums."""
    if zipfile.is_zipfile(io.BytesIO(whole)) and draw(st.booleans()):
        return repacked(whole, "data.pkl", draw(spoiled(member_of(whole, "data.pkl"))))
    return draw(spoiled(whole, near=(*ENDS, 1000, len(whole) - 100, len(whole) - 400, len(whole) - 2000)))


values = st.fixed_dictionaries({"method": spoiled_json(learned()["method"])}) | st.one_of(
    st.fixed_dictionaries({key: odd_json}) for key in ("state_dict", "epoch")
)


@FUZZ
@given(data=st.data(), zipped=st.booleans())
def test_checkpoints(folder, data, zipped):
    (folder / "m").write_bytes(data.draw(spoiled_file(checkpoint_file(zipped))))
    value_or_refusal("checkpoint", use_checkpoint, folder / "m")


@FUZZ
@given(changes=values)
def test_values_of_checkpoints(folder, changes):
    (folder / "m").write_bytes(saved(learned(**changes)))
    value_or_refusal("checkpoint", use_checkpoint, folder / "m")


@pytest.mark.parametrize("kind", ["zip", "legacy", "jit"])
@FUZZ
@given(data=st.data())
def test_clips(folder, kind, data):
    (folder / "clip.pt").write_bytes(data.draw(spoiled_file(whole_file(kind))))
    value_or_refusal("JIT archive" if kind == "jit" else "CLIP file", use_clip, folder / "clip.pt")


@FUZZ
@given(data=st.data())
def test_safetensors(folder, data):
    content = data.draw(spoiled(whole_file("safetensors"), near=(0, 8, 60, 500, 2000)))
    (folder / "clip.safetensors").write_bytes(content)
    value_or_refusal("safetensors", use_clip, folder / "clip.safetensors")


def test_the_whole_files_are_read(folder):
    for kind in ("jit", "zip", "legacy", "safetensors"):
        path = folder / f"clip.{'safetensors' if kind == 'safetensors' else 'pt'}"
        path.write_bytes(whole_file(kind))
        assert torch.equal(use_clip(path).text_projection, mini_clip().text_projection)
    (folder / "m").write_bytes(saved(learned()))
    assert torch.equal(use_checkpoint(folder / "m").ctx, torch.zeros(2, 64))
