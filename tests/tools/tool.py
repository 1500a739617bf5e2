"""Running a tool of the command line on a small trained run."""

from mocoop import cli
from tests.trained import forget_print_handler


class Tool:
    """Calls `mocoop NAME ...`; a call returns the exit status, what was printed, and the errors."""

    def __init__(self, name: str, capsys):
        self.name, self.capsys = name, capsys
        forget_print_handler()

    def __call__(self, *argv) -> tuple[int, str, str]:
        self.capsys.readouterr()  # what training printed
        status = cli.main([self.name, *map(str, argv)])
        return status, *self.capsys.readouterr()
