import os

import pytest

from mocoop import tiny
from mocoop.backbone import EMBEDDED
from mocoop.clip.openai import MODEL_URLS
from mocoop.errors import CheckpointError
from mocoop.tools import doctor as checks
from mocoop.tools.doctor import NOTE, OK, PROBLEM
from tests.tools.tool import Tool


@pytest.fixture
def doctor(capsys, monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    return Tool("doctor", capsys)


def test_all_in_order(doctor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = doctor("--output", tmp_path / "output")
    lines = out.splitlines()
    assert status == 0 and lines[-1] == "no problem found"
    assert any(line.startswith("ok       engine") for line in lines)
    assert any(line.startswith("note     data root") for line in lines)  # absent, and not asked for
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_cannot_be_run_hides_no_other(doctor, tmp_path, monkeypatch):
    def damaged(name):
        raise CheckpointError(f"{name}: the file is damaged, install the library again")

    monkeypatch.setattr(tiny, "load", damaged)
    (tmp_path / "file").touch()
    status, out, _ = doctor("--root", tmp_path / "gone", "--output", tmp_path / "file/below")
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM")]
    assert status == 1 and out.splitlines()[-1] == "3 problems found"
    assert f"{EMBEDDED['tiny']}: the file is damaged" in problems[0] and "gone; name yours with --root" in problems[1]
    assert f"{tmp_path}/file cannot be written to" in problems[2]


def test_extras_that_are_absent_are_notes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    notes = {about: text for state, about, text in checks.check_software() if state == NOTE}
    assert notes.keys() == checks.EXTRAS.keys() and "pip install onnx" in notes["onnx"]


def test_a_backbone_that_is_named_says_what_it_takes(doctor, tmp_path):
    status, out, _ = doctor("--output", tmp_path, "--backbone", "tiny-vit")
    assert status == 0 and "tiny-vit: 128 features, 77 tokens, quick_gelu; images 64 x 64 bicubic, mean 0.481/" in out
    status, out, _ = doctor("--output", tmp_path, "--backbone", "open_clip:ViT-B-23/openai")
    assert status == 1 and "PROBLEM  backbone" in out


def test_downloaded_weights_are_compared_with_the_published_hash(tmp_path, monkeypatch):
    assert list(checks.check_downloaded(tmp_path)) == []
    (tmp_path / MODEL_URLS["ViT-B/16"].split("/")[-1]).write_bytes(b"half a download")
    ((state, about, text),) = checks.check_downloaded(tmp_path)
    assert (state, about) == (PROBLEM, "ViT-B/16") and "expected 5806e77cd80f8b59...: remove it" in text
    monkeypatch.setattr("mocoop.files.file_sha256", lambda path: MODEL_URLS["ViT-B/16"].split("/")[-2])
    assert [state for state, *_ in checks.check_downloaded(tmp_path)] == [OK]


def test_the_data_root_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    ((state, _, text),) = checks.check_data(tmp_path)
    assert state == NOTE and "no dataset in it" in text
    ((state, _, text),) = checks.check_folder("output", tmp_path / "deep/er")
    assert state == OK and "GiB free" in text and list(tmp_path.iterdir()) == []
    (tmp_path / "oxford_pets").mkdir()
    ((state, _, text),) = checks.check_data(tmp_path)
    assert state == OK and ": OxfordPets; `mocoop datasets check NAME`" in text
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    ((state, _, text),) = checks.check_folder("output", tmp_path)
    assert state == PROBLEM and "cannot be written to; name another folder" in text
