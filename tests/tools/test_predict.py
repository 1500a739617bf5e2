import json

import pytest

from tests.runs.test_prediction import draw
from tests.tools.tool import Tool


@pytest.fixture
def predict(trained_runs, capsys):
    """Runs `mocoop predict ... --model RUN`; returns status, stdout and stderr."""

    tool = Tool("predict", capsys)

    def call(*argv, model="mocoop"):
        return tool(*argv, "--model", trained_runs.of(model))

    return call


def test_an_image_to_be_read_and_a_broken_one(predict, tmp_path, caplog):
    status, out, _ = predict(draw(tmp_path / "mes images/é.png"), "--top", 2)
    path, first, second, experts = out.splitlines()
    assert status == 0 and path.endswith("mes images/é.png") and experts.startswith("  experts: ")
    assert float(first.split()[0]) >= float(second.split()[0])
    (tmp_path / "mes images/b.png").write_text("no picture")
    status, out, _ = predict(tmp_path, "--format", "json", "--top", 1)
    assert status == 1 and len(json.loads(out)) == 1 and "b.png: cannot identify image file" in caplog.text


def test_new_class_names(predict, tmp_path):
    image = draw(tmp_path / "a.png")
    _, out, _ = predict(image, "--format", "json", "--classes", "red plain circle, blue_striped star")
    named = {entry["class"] for entry in json.loads(out)[0]["classes"]}
    assert named == {"red plain circle", "blue_striped star"}
    (tmp_path / "names.txt").write_text("\ufeffred plain circle\n\nblack plain ring, small\n", encoding="utf-8")
    _, out, _ = predict(image, "--format", "json", "--classes-file", tmp_path / "names.txt", model="zeroshot")
    named = {entry["class"] for entry in json.loads(out)[0]["classes"]}
    assert named == {"red plain circle", "black plain ring, small"}


def test_a_file_is_written_whole_and_never_replaced_unasked(predict, tmp_path):
    image, out = draw(tmp_path / "a.png"), tmp_path / "said.csv"
    assert predict(image, "--out", out)[:2] == (0, "")
    text = out.read_text()
    assert text.startswith("path,rank,class,probability,experts,gates\n") and len(text.splitlines()) == 6
    status, _, err = predict(image, "--out", out, "--top", 1)
    assert status == 2 and "is not overwritten" in err and out.read_text() == text
    assert predict(image, "--out", out, "--top", 1, "--force")[0] == 0 and len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "argv, message",
    [
        (["gone.png"], "error: no image or folder gone.png"),
        ([".", "--top", "0"], "error: --top is 0, expected 1 or more"),
        ([".", "--classes", "a,,b"], "none of them empty"),
        ([".", "--classes-file", "gone.txt"], "error: gone.txt: not a readable text of class names"),
        ([".", "--epoch", "9"], "model.pth.tar-9, found model.pth.tar-1"),
        ([".", "--out", "."], "error: . is a folder, expected the name of a file"),
    ],
)
def test_bad_input_is_one_line(predict, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = predict(*argv)
    assert status == 2 and message in err and len(err.splitlines()) == 1
