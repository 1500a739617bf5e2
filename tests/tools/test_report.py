import pytest

from mocoop import cli
from tests.results.runs import add_run


@pytest.fixture
def output(tmp_path):
    for shots in (1, 2):
        add_run(tmp_path / "output", 50.0 + shots, protocol="few_shot", phase="train_all", shots=shots)
    return tmp_path / "output"


def test_writes_the_report_and_prints_its_path(output, capsys):
    assert cli.main(["report", str(output)]) == 0
    assert capsys.readouterr().out == f"{output / 'report.html'}\n"
    assert "Few-shot learning" in (output / "report.html").read_text()


def test_another_file_another_protocol_and_no_overwriting(output, tmp_path, capsys):
    target = tmp_path / "paper.html"
    assert cli.main(["report", str(output), "--to", str(target), "--protocol", "few_shot", "--seeds", "1"]) == 0
    assert cli.main(["report", str(output), "--to", str(target)]) == 2
    assert capsys.readouterr().err.endswith("name another file, or pass --force\n")
    assert cli.main(["report", str(output), "--to", str(target), "--force"]) == 0


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
