"""README and docs: their commands could be given as they stand, their links lead somewhere, their Python runs.

Nothing here is run but the Python. Each command is parsed by what would carry it out: an option, script, config,
dataset, method or key that does not exist is found.
"""

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mocoop import cli
from mocoop.config import leaves
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg
from mocoop.protocols.plan import completed, list_runs, plan_runs
from mocoop.protocols.script import read_request
from mocoop.registry import listed
from mocoop.tools import run as run_tool
from mocoop.train import parse_args
from tests.scripts.checkout import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
EVERY_KEY = get_cfg_default()
extend_cfg(EVERY_KEY)
OWN = {"birds": "dtd", "NAME": "dtd"}  # datasets of the reader's, and ones that stand for them
NOT_OURS = {"git", "cd", "mkdir", "mv", "cp", "tar", "unzip", "for", "do", "done", "ln"}
KEYS = set(dict(leaves(EVERY_KEY)))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of a page. Lines that end in a backslash, or in an open quote, go on."""
    for body in blocks(page, "bash"):
        line = ""
        for part in body.splitlines():
            line += part.removesuffix("\\") + " "
            if part.endswith("\\") or len(re.findall('"', line)) % 2:
                continue
            words, line = shlex.split(line, comments=True), ""
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


CASES = [pytest.param(words, id=f"{page.name}: {shlex.join(words)[:70]}") for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", CASES)
def test_a_command_could_be_given(words, monkeypatch):
    words = [OWN.get(word, word) for word in words if word != "..."]
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        if name != "DATA":
            monkeypatch.setenv(name, value)
        assert name != "OPTS" or set(value.split()[::2]) <= KEYS
    program, *rest = words
    if program == "mocoop":
        check_tool(rest)
    elif program == "bash":
        check_script(rest)
    elif program in ("python", "torchrun"):
        check_python(rest)
    elif program == "pip":
        check_pip(rest)
    else:
        assert program in NOT_OURS or os.access(ROOT / program, os.X_OK)


def check_tool(words: list[str]) -> None:
    words = [re.sub(r"^\$\w+$", "1", word) for word in words]
    if words[0] == "train":
        return check_training(words[1:])
    args = cli._parse(words)  # ends where an option or a choice is unknown
    if words[0] == "run":
        assert set(args.overrides[::2]) <= KEYS
        assert plan_runs(run_tool._request(args), ROOT, with_data=False)
    for name in getattr(args, "methods", None) or () if words[0] != "run" else ():
        assert name in listed()


def check_script(words: list[str]) -> None:
    path, arguments = Path(words[0]), words[1:]
    assert (ROOT / path).is_file()
    if path.parent.name in METHODS or (path.parts[0] == "scripts" and "METHOD" in (ROOT / path).read_text()):
        method = [METHODS[path.parent.name]] if path.parent.name in METHODS else []
        assert list_runs(completed(read_request(path.stem, "", (*method, *arguments)), ROOT), ROOT)


def check_python(words: list[str]) -> None:
    if words[0].startswith("--nproc"):
        words = words[2:]
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
    elif words[0] != "-m":
        assert words[0] == "train.py"
        check_training(words[1:])
    elif words[1] == "mocoop.train":
        check_training(words[2:])
    else:
        assert importlib.util.find_spec(words[1]) is not None
        for word in words[2:] if words[1] == "pytest" else ():
            assert not word.startswith("tests/") or (ROOT / word.partition("::")[0]).exists()


def check_training(words: list[str]) -> None:
    args = parse_args(words)
    assert set(args.opts[::2]) <= KEYS and len(args.opts) % 2 == 0
    assert not args.trainer or args.trainer in listed()
    for path in filter(None, (args.config_file, args.dataset_config_file)):
        assert (ROOT / path).is_file()


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for extra in re.findall(r"\.\[(.+?)\]", " ".join(words)):
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for path in re.findall(r"-r (\S+)", " ".join(words)):
        assert path == "requirements.txt"  # of Dassl


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """What a hosting site makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", "docs/running.md"])
def test_python_runs(page):
    (body,) = [body for body in blocks(ROOT / page, "python") if "build_method(" in body]
    images, label = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 0, 1])
    names = {"images": images, "image": images, "label": label, "epoch": 1, "epochs": 2}
    exec(body, names)
    assert names["logits"].shape == (4, 2)


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


@pytest.mark.parametrize("name", listed())
def test_every_method_is_in_the_readme(name):
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert name in [word for row in rows for word in row.split(", ")]


def test_the_tests_that_the_readme_names_are_there_and_name_the_method():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| method | what learns")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) > 15
    for methods, *_, test in rows:
        text = (ROOT / "tests/methods" / test).read_text(encoding="utf-8")
        if test == "test_against_naive.py":
            files = (ROOT / "tests/methods").glob("naive*.py")
            text = "".join(path.read_text(encoding="utf-8") for path in files)
        assert test == "test_every_method.py" or all(name in text for name in methods.split(", ")), (methods, test)


def test_no_path_of_a_machine_is_in_the_docs():
    for page in PAGES:
        assert not re.search(r"/(home|root|tmp|work)/", page.read_text(encoding="utf-8")), page
