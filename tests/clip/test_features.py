"""Features on disk: found again when nothing changed, missed when anything did, and removed when there are too many."""

import multiprocessing
import os
import threading

import pytest
import torch

from mocoop.clip.features import computing, hard_features, keep, kept_tensor, read_kept
from mocoop.clip.identity import key_of, tensors_sha256
from mocoop.clip.text_encoder import TextEncoder
from mocoop.errors import ConfigError
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
    kept_tensor("text", "k", lambda: torch.ones(2))
    path = tmp_path / "text" / "k.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(kept_tensor("text", "k", lambda: torch.zeros(2)), torch.zeros(2))
    assert "damaged" in caplog.text
    assert torch.equal(kept_tensor("text", "k", lambda: torch.ones(2)), torch.zeros(2))


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "file" / "cache"))
    assert torch.equal(kept_tensor("text", "k", lambda: torch.ones(2)), torch.ones(2))
    assert "not kept" in caplog.text


def test_off_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    kept_tensor("text", "k", lambda: torch.ones(2))
    assert not list(tmp_path.iterdir())


def test_the_number_of_threads_is_part_of_what_computes():
    """Products of matrices are cut in other places by other numbers of threads, and round differently."""
    before, threads = computing(torch.device("cpu")), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert computing(torch.device("cpu")) != before
    finally:
        torch.set_num_threads(threads)


def write_some(writer):
    for number in range(20):
        keep("images", f"{writer}-{number}", torch.full((50, 8), float(writer)))
        keep("images", "shared", torch.full((50, 8), 7.0))


def test_writers_lose_nothing_of_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    processes = [multiprocessing.get_context("fork").Process(target=write_some, args=(each,)) for each in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    for writer in range(2):
        for number in range(20):
            assert torch.equal(read_kept("images", f"{writer}-{number}"), torch.full((50, 8), float(writer)))
    assert torch.equal(read_kept("images", "shared"), torch.full((50, 8), 7.0))
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    monkeypatch.setenv("MOCOOP_CACHE_GB", "2.2e-6")  # two files of 800 bytes and their headers
    for age, name in ((300, "old"), (200, "older by name only")):
        keep("images", name, torch.zeros(200))
        path = tmp_path / "images" / f"{name}.safetensors"
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime))
    assert read_kept("images", "old") is not None  # used last, then
    keep("text", "new", torch.zeros(200))
    assert read_kept("images", "older by name only") is None
    assert read_kept("images", "old") is not None and read_kept("text", "new") is not None
    keep("text", "too large", torch.zeros(600))
    assert read_kept("text", "too large") is None and read_kept("text", "new") is not None


def test_what_a_killed_writer_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    (tmp_path / "text").mkdir()
    left, going_on = (tmp_path / "text" / f".k.safetensors.{pid}-0123abcd.tmp" for pid in (1, 2))
    for path in (left, going_on):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    keep("text", "k", torch.zeros(2))
    assert not left.exists() and going_on.exists()


def test_removal_while_another_reads(tmp_path, monkeypatch):
    """What is mapped stays what it is, and what is gone is computed again."""
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    keep("images", "k", torch.arange(1000.0))
    found = read_kept("images", "k")
    (tmp_path / "images" / "k.safetensors").unlink()
    assert torch.equal(found, torch.arange(1000.0)) and read_kept("images", "k") is None

    ended = threading.Event()

    def remove() -> None:
        while not ended.is_set():
            (tmp_path / "images" / "r.safetensors").unlink(missing_ok=True)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for _ in range(200):
            assert torch.equal(kept_tensor("images", "r", lambda: torch.ones(3)), torch.ones(3))
    finally:
        ended.set()
        thread.join()


def test_a_limit_that_is_no_number_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    monkeypatch.setenv("MOCOOP_CACHE_GB", "much")
    with pytest.raises(ConfigError, match="MOCOOP_CACHE_GB is 'much', expected a number of gigabytes"):
        keep("text", "k", torch.ones(2))


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
