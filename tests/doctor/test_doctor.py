"""Each check with what it looks at in order, absent and broken."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from mocoop import tiny
from mocoop.backbone import EMBEDDED
from mocoop.clip.openai import MODEL_URLS
from mocoop.doctor import diagnose, places, software, weights
from mocoop.doctor.finding import NOTE, OK, PROBLEM, Finding
from mocoop.engine.backend import EngineError
from mocoop.errors import CheckpointError, DataError

EVERYDAY = [software.check_python, software.check_torch, software.check_engine, software.check_clip]


@pytest.mark.parametrize("check", [*EVERYDAY, weights.check_embedded])
def test_what_the_tests_run_on_is_in_order(check):
    found = list(check())
    assert found and all(finding.state in (OK, NOTE) for finding in found)


def test_a_cause_is_told_once_and_hides_no_other_check():
    def broken():
        raise DataError("the   disk\nis gone")
        yield

    def absent():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    def fine():
        return [Finding(OK, "c", "well")]

    found = list(diagnose([("a", broken), ("b", broken), ("c", fine), ("d", absent)]))
    assert [(f.state, f.about, f.text) for f in found[:3]] == [
        (PROBLEM, "a", "the disk is gone"),
        (NOTE, "b", "not checked, see a"),
        (OK, "c", "well"),
    ]
    assert found[3].state == PROBLEM and found[3].text.startswith("the package torch is missing: install")


def test_an_old_python_and_an_old_torch(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setattr("torch.__version__", "2.3.1+cpu")
    (python,) = software.check_python()
    torch = next(iter(software.check_torch()))
    assert python.state == torch.state == PROBLEM
    assert "got 3.9.1, expected 3.10" in python.text and "got 2.3.1+cpu" in torch.text and "torch 2.4" in torch.text


def test_the_engine_and_why(monkeypatch):
    monkeypatch.setenv("MOCOOP_ENGINE", "lite")
    monkeypatch.setattr("mocoop.engine.BACKEND", "lite")
    assert next(iter(software.check_engine())).text == "lite (MOCOOP_ENGINE=lite)"

    def refuse(name):
        raise EngineError("Dassl is installed but broken")

    monkeypatch.setattr("importlib.import_module", refuse)
    assert [f.state for f in diagnose([("engine", software.check_engine)])] == [PROBLEM]


def test_extras_that_are_absent_are_notes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = list(software.check_extras())
    assert {finding.state for finding in found} == {NOTE}
    assert "pip install onnx" in next(finding.text for finding in found if finding.about == "onnx")


def test_downloaded_weights_are_compared_with_the_published_hash(tmp_path, monkeypatch):
    assert [f.state for f in weights.check_downloaded(tmp_path)] == [NOTE]
    (tmp_path / MODEL_URLS["ViT-B/16"].split("/")[-1]).write_bytes(b"half a download")
    (found,) = weights.check_downloaded(tmp_path)
    assert (found.state, found.about) == (
        PROBLEM,
        "ViT-B/16",
    ) and "expected 5806e77cd80f8b59...: remove it" in found.text
    monkeypatch.setattr("mocoop.doctor.weights.file_sha256", lambda path: MODEL_URLS["ViT-B/16"].split("/")[-2])
    assert [f.state for f in weights.check_downloaded(tmp_path)] == [OK]


def test_damaged_embedded_weights_are_a_problem(monkeypatch):
    def damaged(name):
        raise CheckpointError(f"{name}: the file is damaged, install the library again")

    monkeypatch.setattr(tiny, "load", damaged)
    (found,) = diagnose([("embedded CLIP", weights.check_embedded)])
    assert found.state == PROBLEM and found.text.startswith(EMBEDDED["tiny"])


def test_the_data_root(tmp_path, monkeypatch):
    missing = tmp_path / "gone"
    assert [f.state for f in places.check_data(missing, asked=True)] == [PROBLEM]
    assert [f.state for f in places.check_data(missing, asked=False)] == [NOTE]
    (empty,) = places.check_data(tmp_path, asked=True)
    assert empty.state == NOTE and "no dataset in it" in empty.text
    (tmp_path / "oxford_pets").mkdir()
    (found,) = places.check_data(tmp_path, asked=True)
    assert found.state == OK and ": OxfordPets; `mocoop datasets check NAME`" in found.text


def test_the_output_folder(tmp_path, monkeypatch):
    (found,) = places.check_output(tmp_path / "deep/er")
    assert found.state == OK and "GiB free" in found.text and list(tmp_path.iterdir()) == []
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    (full,) = places.check_output(tmp_path)
    assert full.state == PROBLEM and "0.0 GiB free, expected 1 or more" in full.text


def test_an_output_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (found,) = diagnose([("output", lambda: places.check_output(tmp_path / "file/below"))])
    assert found.state == PROBLEM and found.text == f"{tmp_path}/file is a file, expected a folder"

    def refuse(dir):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    (found,) = diagnose([("output", lambda: places.check_output(tmp_path))])
    assert found.state == PROBLEM and "cannot be written to (Permission denied); name another folder" in found.text
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    assert {f.state for f in places.check_caches()} == {NOTE}


def test_a_cache_that_is_off(monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", "off")
    first, weights_folder = places.check_caches()
    assert (first.state, first.text) == (NOTE, "off (MOCOOP_CACHE)") and Path(
        "~/.cache/clip"
    ).name in weights_folder.text
