import contextlib
import io
import os
import subprocess
import sys

import pytest

from mocoop import cli, tools


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A tool `greet` in a folder of its own, whose `run` is the source given."""

    def make(body: str) -> None:
        source = f'"""Greets 100 % of the people.\n\nAt length."""\nfrom mocoop.errors import DataError\n\n{body}\n'
        (tmp_path / "greet.py").write_text(source)
        (tmp_path / "broken.py").write_text('"""Breaks."""\nraise RuntimeError("imported")\n')
        (tmp_path / "_hidden.py").write_text("")
        monkeypatch.setattr(tools, "__path__", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "mocoop.tools.greet", raising=False)

    yield make
    sys.modules.pop("mocoop.tools.greet", None)


ADD = "def add_arguments(parser):\n    parser.add_argument('name')\n\n"


def test_runs_the_tool_and_returns_its_status_and_a_program_may_read_what_it_prints(tool, capsys):
    tool(ADD + "def run(args):\n    print('hello', args.name)\n    return 3\n")
    assert cli.main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    with contextlib.redirect_stdout(io.StringIO()) as read:
        assert cli.main(["greet", "you"]) == 3
    assert read.getvalue() == "hello you\n"


def test_help_lists_the_tools_without_importing_them(tool, capsys):
    tool(ADD + "def run(args):\n    return 0\n")
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "Greets 100 % of the people" in text and "Breaks" in text and "hidden" not in text


@pytest.mark.parametrize(
    "body, status, message",
    [
        ("raise DataError('no such thing')", 2, "error: no such thing\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(tool, capsys, body, status, message):
    tool(ADD + f"def run(args):\n    {body}\n")
    assert cli.main(["greet", "you"]) == status
    assert capsys.readouterr().err == message


def test_an_error_of_the_program_keeps_its_traceback(tool):
    tool(ADD + "def run(args):\n    raise ZeroDivisionError\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["greet", "you"])


def test_an_unknown_tool_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["nothing"])
    assert caught.value.code == 2 and "'nothing'" in capsys.readouterr().err


def test_every_tool_follows_the_form():
    for name, docstring in cli._tools().items():
        assert docstring.partition("\n")[0].endswith("."), name


START = "import sys; from mocoop import cli, tools; tools.__path__ = [{!r}]; sys.exit(cli.main())"
ENDLESS = "for _ in range(10**6):\n        print('a')"


@pytest.mark.parametrize(
    "body, shell, expected",
    [
        (ENDLESS, "{} | head -1; exit ${{PIPESTATUS[0]}}", (141, "a\n", "")),
        ("print('a \u2013 b')", "PYTHONIOENCODING=ascii {}", (0, "a ? b\n", "")),
        ("print('a \u2013 b')", "{} >&-", (0, "", "")),
    ],
)
def test_a_reader_that_stops_early_or_a_terminal_that_cannot_show_it_is_no_error(tool, tmp_path, body, shell, expected):
    tool(ADD + f"def run(args):\n    {body}\n    return 0\n")
    command = shell.format(f'{sys.executable} -c "{START.format(str(tmp_path))}" greet you')
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert (ran.returncode, ran.stdout, ran.stderr) == expected
