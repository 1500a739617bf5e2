import pytest

from mocoop.doctor import software
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


def test_the_cause_is_named_and_the_status_says_so(doctor, tmp_path, monkeypatch):
    monkeypatch.setattr(software, "OLDEST_PYTHON", (4, 0))
    status, out, _ = doctor("--root", tmp_path / "gone", "--output", tmp_path)
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM")]
    assert status == 1 and out.splitlines()[-1] == "2 problems found"
    assert "expected 4.0 or newer" in problems[0] and "gone; name yours with --root" in problems[1]
