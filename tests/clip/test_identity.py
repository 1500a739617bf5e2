"""A CLIP is known by the hash of its weights, which is computed once for each file."""

import logging
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file
from yacs.config import CfgNode

import mocoop.backbone
from mocoop.backbone import clip_sha256, load_clip
from mocoop.clip import features, identity
from mocoop.clip.features import hard_features
from mocoop.clip.identity import module_sha256
from mocoop.clip.text_encoder import TextEncoder
from tests.small_clip import small_clip


def config(path, activation="quick_gelu"):
    return CfgNode({"MODEL": {"BACKBONE": {"NAME": str(path), "ACTIVATION": activation}}})


def write(path, seed=0):
    save_file({name: value.contiguous() for name, value in small_clip(seed).state_dict().items()}, path)
    return path


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """What was hashed so far: names of tensors, a list for each call; hashes are kept in a cache of this test."""
    calls, real = [], identity.tensors_sha256

    def counted(tensors):
        tensors = list(tensors)
        calls.append([name for name, _ in tensors])
        return real(tensors)

    for module in (mocoop.backbone, identity):
        monkeypatch.setattr(module, "tensors_sha256", counted)
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mocoop.backbone, "_kept", None)  # as outside of a worker
    return calls


def in_a_new_process(monkeypatch):
    monkeypatch.setattr(identity, "_known", {})


def test_a_file_is_hashed_once(tmp_path, hashed, monkeypatch):
    path = write(tmp_path / "clip.safetensors")
    first = load_clip(config(path)).sha256
    assert len(hashed) == 1 and len(first) == 64
    in_a_new_process(monkeypatch)
    assert load_clip(config(path)).sha256 == first and clip_sha256(config(path)) == first
    assert len(hashed) == 1


def test_a_copy_and_another_format_are_the_same_clip(tmp_path):
    path = write(tmp_path / "clip.safetensors")
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(path, tmp_path / "elsewhere" / "renamed.safetensors")
    torch.save({"state_dict": small_clip().state_dict()}, tmp_path / "clip.pt")
    assert len({load_clip(config(each)).sha256 for each in (path, moved, tmp_path / "clip.pt")}) == 1
    assert load_clip(config("tiny")).sha256 != load_clip(config("tiny-vit")).sha256


def test_another_file_under_the_same_path_is_another_clip(tmp_path, hashed):
    path, other = write(tmp_path / "clip.safetensors"), write(tmp_path / "other.safetensors", seed=1)
    first, before = load_clip(config(path)).sha256, path.stat()
    assert other.stat().st_size == before.st_size
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -p and rsync -t keep it
    os.replace(other, path)
    assert clip_sha256(config(path)) != first
    assert load_clip(config(path)).sha256 != first


def test_a_damaged_note_of_a_hash_is_written_anew(tmp_path, hashed, monkeypatch):
    path = write(tmp_path / "clip.safetensors")
    first = load_clip(config(path)).sha256
    (note,) = (tmp_path / "cache" / "clips").iterdir()
    note.write_bytes(b"\xff\x00")
    in_a_new_process(monkeypatch)
    assert load_clip(config(path)).sha256 == first
    assert note.read_text() == f"{first}\n"


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert load_clip(config(write(tmp_path / "clip.safetensors"))).sha256
    assert "is not kept" in caplog.text


def test_hard_features_hash_the_text_tower_once(hashed):
    encoder = TextEncoder(small_clip())
    for template in ("a {}.", "the {}."):
        hard_features(encoder, [template], ["cat"])
    assert len(hashed) == 1 and not any("visual." in name for name in hashed[0])
    with torch.no_grad():
        encoder.clip_model.ln_final.bias += 1
    hard_features(encoder, ["a {}."], ["cat"])
    assert len(hashed) == 2


def test_a_module_in_another_precision_has_another_hash():
    model = small_clip()
    first = module_sha256(model)
    assert module_sha256(model.half()) != first == module_sha256(small_clip())


def test_hard_features_of_another_torch_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    encoder = TextEncoder(small_clip())
    hard_features(encoder, ["a {}."], ["cat"])
    monkeypatch.setattr(features.torch, "__version__", "0.0")
    before = encoder.calls
    hard_features(encoder, ["a {}."], ["cat"])
    assert encoder.calls == before + 1


@pytest.fixture
def kept(monkeypatch):
    """This process keeps the CLIP that was loaded last."""
    monkeypatch.setattr(mocoop.backbone, "_kept", mocoop.backbone.KeptClip())


@pytest.fixture
def reads(monkeypatch):
    """How often a CLIP was read."""
    calls, real = [], mocoop.backbone._read
    monkeypatch.setattr(mocoop.backbone, "_read", lambda cfg: calls.append(1) or real(cfg))
    return calls


def loaded(path, seed=1):
    """A CLIP's tensors, and what torch draws after it was loaded."""
    torch.manual_seed(seed)
    return load_clip(config(path)), torch.rand(3)


def test_a_kept_clip_is_to_a_run_as_one_that_was_read(tmp_path, kept, reads, monkeypatch):
    path = write(tmp_path / "clip.safetensors")
    first, drawn = loaded(path)
    copy, again = loaded(path)
    assert len(reads) == 1 and torch.equal(drawn, again)
    _, other = loaded(path, seed=2)
    assert len(reads) == 2, "weights are drawn before they are set: another state has to be met"
    monkeypatch.setattr(mocoop.backbone, "_kept", None)
    read, expected = loaded(path, seed=2)
    assert torch.equal(other, expected)
    assert copy.sha256 == read.sha256 and copy.describe() == read.describe()
    for one, two in zip(copy.state_dict().values(), read.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_what_a_run_does_to_its_clip_touches_no_other(tmp_path, kept, reads):
    path = write(tmp_path / "clip.safetensors")
    one, _ = loaded(path)
    one.text_projection.data.zero_()
    one.train().requires_grad_(True).halve()
    two, _ = loaded(path)
    assert len(reads) == 1 and two.text_projection.abs().sum() > 0 and two.text_projection.dtype == torch.float32
    assert not two.training and not any(parameter.requires_grad for parameter in two.parameters())


def test_another_file_and_one_that_changed_are_read(tmp_path, kept, reads):
    path, other = write(tmp_path / "clip.safetensors"), write(tmp_path / "other.safetensors", seed=1)
    first = loaded(path)[0].sha256
    assert loaded(other)[0].sha256 != first and loaded(path)[0].sha256 == first and len(reads) == 3
    write(path, seed=1)
    assert loaded(path)[0].sha256 == loaded(other)[0].sha256 != first


def test_a_copy_says_what_was_said_and_has_the_hashes(tmp_path, hashed, kept, caplog):
    path = write(tmp_path / "clip.safetensors")
    torch.manual_seed(1)
    load_clip(config(path, "auto"))
    said, count = [record.message for record in caplog.records], len(hashed)
    caplog.clear()
    torch.manual_seed(1)
    copy = load_clip(config(path, "auto"))
    assert said == [record.message for record in caplog.records] and "QuickGELU is assumed" in said[0]
    assert module_sha256(copy, without="visual.") and module_sha256(copy.visual) and len(hashed) == count
    copy.text_projection.data = copy.text_projection.data + 1
    module_sha256(copy, without="visual.")
    assert len(hashed) == count + 1
