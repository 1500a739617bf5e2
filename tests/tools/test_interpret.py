import json

import pytest

from tests.tools.tool import Tool


@pytest.fixture
def interpret(capsys):
    return Tool("interpret", capsys)


def test_what_is_printed_and_written(interpret, trained_runs, tmp_path):
    out = tmp_path / "contexts.json"
    status, text, _ = interpret(trained_runs.of("mocoop"), "--top", 2, "--json", out)
    assert status == 0 and "\nphoto, before the class name\n" in text and "random 0.3" in text
    assert "cannot mean: that the prompt says" in " ".join(text.split())
    told = json.loads(out.read_text())
    first = told["positions"][0]
    assert (first["expert"], first["side"], first["position"], first["start"]) == ("photo", "before", 1, "a")
    assert len(first["nearest"]) == 2 and first["random_mean"] > first["nearest"][0][1]
    assert told["meaning"].startswith("What this can mean")


def test_noise_is_told_as_such(interpret, trained_runs):
    status, text, _ = interpret(trained_runs.of("coop-csc"), "--top", 1)
    assert status == 0 and text.count("noise") == 40 * 16


def test_bad_input_is_one_line(interpret, trained_runs, tmp_path):
    (tmp_path / "x.json").touch()
    for argv, message in [
        ([trained_runs.of("zeroshot")], "learns no context"),
        ([trained_runs.of("coop"), "--top", 0], "--top is 0"),
        ([trained_runs.of("coop"), "--json", tmp_path / "x.json"], "is not overwritten"),
    ]:
        status, _, err = interpret(*argv)
        assert status == 2 and message in err.splitlines()[-1]
