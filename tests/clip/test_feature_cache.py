"""Caches of features: found again when nothing changed, missed when anything did."""

import torch

from mocoop.clip.feature_cache import ImageFeatureCache, cached_tensor, key_of, tensors_sha256
from mocoop.clip.hard_prompts import hard_features
from mocoop.clip.text_encoder import TextEncoder
from mocoop.files import file_sha256
from tests.small_clip import small_clip

TEMPLATES, NAMES = ["a photo of a {}.", "a {} texture."], ["cat", "oak tree"]


def features(model, templates=TEMPLATES, names=NAMES):
    encoder = TextEncoder(model)
    return hard_features(encoder, templates, names), encoder.calls


def test_templates_are_encoded_once_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    first, calls = features(small_clip())
    again, calls_again = features(small_clip())
    assert (calls, calls_again) == (1, 0) and torch.equal(first, again)


def test_other_weights_templates_or_names_miss(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    features(small_clip())
    changed = small_clip()
    with torch.no_grad():
        changed.ln_final.bias[0] += 1e-3
    assert features(changed)[1] == 1
    assert features(small_clip(), templates=["a photo of a {}.", "the {} texture."])[1] == 1
    assert features(small_clip(), names=["cat", "oak"])[1] == 1
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4


def test_image_weights_do_not_matter_to_text(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    features(small_clip())
    changed = small_clip()
    with torch.no_grad():
        changed.visual.proj[0, 0] += 1
    assert features(changed)[1] == 0


def test_a_damaged_file_is_computed_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    cached_tensor("text", "k", lambda: torch.ones(2))
    path = tmp_path / "text" / "k.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(cached_tensor("text", "k", lambda: torch.zeros(2)), torch.zeros(2))
    assert "damaged" in caplog.text
    assert torch.equal(cached_tensor("text", "k", lambda: torch.ones(2)), torch.zeros(2))


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "file" / "cache"))
    assert torch.equal(cached_tensor("text", "k", lambda: torch.ones(2)), torch.ones(2))
    assert "not cached" in caplog.text


def test_off_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    cached_tensor("text", "k", lambda: torch.ones(2))
    assert not list(tmp_path.iterdir())


def test_image_features_are_known_by_the_bytes_of_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")
    cache = ImageFeatureCache("tower")
    cache.features[file_sha256(image)] = torch.arange(3.0)
    cache.save()
    again = ImageFeatureCache("tower")
    assert torch.equal(again.features[file_sha256(image)], torch.arange(3.0))
    image.write_bytes(b"pixelz")
    assert file_sha256(image) not in again.features
    assert not ImageFeatureCache("another tower").features


def test_two_writers_keep_what_both_know(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    one, two = ImageFeatureCache("tower"), ImageFeatureCache("tower")
    one.features["00" * 32] = torch.zeros(3)
    two.features["11" * 32] = torch.ones(3)
    one.save()
    two.save()
    assert set(ImageFeatureCache("tower").features) == {"00" * 32, "11" * 32}


def test_hashes_tell_values_names_and_types_apart():
    base = tensors_sha256([("a", torch.zeros(4))])
    others = [
        [("b", torch.zeros(4))],
        [("a", torch.zeros(2, 2))],
        [("a", torch.zeros(4).double())],
        [("a", torch.ones(4))],
    ]
    assert base not in {tensors_sha256(other) for other in others}
    assert key_of("a", ["b"]) != key_of("a", "b")
