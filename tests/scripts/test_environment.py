import pytest

from tests.scripts.checkout import Checkout

PYTHON = """#!/bin/sh
case "$*" in
    "-c "*) exit 0 ;;
    --version) echo Python 3.12.0 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *) echo "run: $*" ;;
esac
"""
ALL_NAMES = ["python3", *(f"python3.{minor}" for minor in range(10, 15))]


class BareMachine(Checkout):
    """A checkout whose interpreters are stubs: they make stub environments and print what they would run."""

    def __init__(self, root):
        super().__init__(root)
        self.write("pyproject.toml", "[project]\n")
        self.provide(PYTHON)

    def provide(self, python: str):
        for name in ALL_NAMES:
            self.write(f"stub/{name}", python).chmod(0o755)

    def test_sh(self, *arguments, **settings):
        return self.bash("test.sh", *arguments, PATH=f"{self.root}/stub:/usr/bin:/bin", **settings)


@pytest.fixture
def machine(tmp_path):
    return BareMachine(tmp_path / "a checkout")


PYTEST = "run: -m pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder"


def test_the_first_run_makes_the_environment_and_installs_and_the_second_nothing(machine):
    done = machine.test_sh("-k", "router")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Making the environment .venv with Python 3.12.0",
        "Installing into .venv, once (PyTorch is a large download)",
        f"run: -m pip install --disable-pip-version-check -e {machine.root}[test]",
        f"{PYTEST} -k router",
    ]
    assert machine.test_sh().stdout == f"{PYTEST}\n"
    machine.write("pyproject.toml", "[project]\nname = 'x'\n")  # again, into the same environment
    out = machine.test_sh().stdout
    assert "Making" not in out and "pip install" in out


def test_a_failed_installation_is_tried_again(machine):
    machine.provide(PYTHON.replace('*) echo "run', '"-m pip"*) exit 7 ;;\n    *) echo "run'))
    assert machine.test_sh().returncode == 7
    machine.write(".venv/bin/python", PYTHON)
    assert "pip install" in machine.test_sh().stdout


def test_the_tests_run_in_the_checkout_wherever_they_are_started(machine, tmp_path):
    machine.provide(PYTHON.replace('echo "run: $*"', "pwd"))
    assert machine.test_sh(cwd=tmp_path).stdout.splitlines()[-1] == str(machine.root)


@pytest.mark.parametrize(
    "python, message",
    [
        ("#!/bin/sh\nexit 1\n", "error: no Python 3.10 or newer on the path; install one and run this again\n"),
        (PYTHON.replace("mkdir -p", "false"), "error: python3 makes no environment; install its venv"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(machine, python, message):
    machine.provide(python)
    done = machine.test_sh()
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
