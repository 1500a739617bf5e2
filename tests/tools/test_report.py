import pytest

from mocoop import cli
from tests.results.runs import add_run


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr("mocoop.report.content.write_figure", lambda figure, file, suffix: file.write(b"<?xml/>"))
    for shots in (1, 2):
        add_run(tmp_path / "output", 50.0 + shots, protocol="few_shot", phase="train_all", shots=shots)
    return tmp_path / "output"


def test_writes_the_report_and_prints_its_path_and_overwrites_no_other_file(output, tmp_path, capsys):
    assert cli.main(["report", str(output)]) == 0
    assert capsys.readouterr().out == f"{output / 'report.html'}\n"
    assert "Few-shot learning" in (output / "report.html").read_text()
    words = ["report", str(output), "--to", str(tmp_path / "paper.html"), "--protocol", "few_shot", "--seeds", "1"]
    assert [cli.main(words), cli.main(words)] == [0, 2]
    assert capsys.readouterr().err.endswith("name another file, or pass --force\n")
    assert cli.main([*words, "--force"]) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "error: nowhere: no such folder, expected one with results; run an experiment first\n"),
        ([".", "--protocol", "dg"], "error: .: no finished run of protocol dg in "),
    ],
)
def test_what_is_not_there_is_one_line(output, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(output)
    assert cli.main(["report", *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)
