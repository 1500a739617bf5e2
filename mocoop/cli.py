"""The console command `mocoop`: `mocoop TOOL ...` runs the module TOOL of mocoop/tools.

A tool is a module with a docstring, whose first line is its help, and the functions `add_arguments(parser)` and
`run(args) -> exit status`. Only the tool that is asked for is imported. A tool with TAKES_OVERRIDES = True finds in
`args.overrides` the words that follow `--`.
"""

import argparse
import ast
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mocoop import __version__, tools
from mocoop.errors import MocoopError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool; returns the exit status: the tool's own, 2 for what the user can fix, 130 when interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = open(os.devnull, "w")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows "?" for it
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        status = args.run(args)
        sys.stdout.flush()
        return status
    except MocoopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        from mocoop.training.interruptions import explain  # brings torch along

        if (reason := explain(error)) is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 2


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; argparse itself takes no words after `--` where options stand before it."""
    parser, takes_overrides = _parser(argv)
    if not takes_overrides:
        return parser.parse_args(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    return parser.parse_args(argv[:end], argparse.Namespace(overrides=argv[end + 1 :]))


def _parser(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, bool]:
    """The parser, and whether the tool that is asked for takes overrides."""
    parser = argparse.ArgumentParser(prog="mocoop", description="Tools around mixture of prompt learning.")
    parser.add_argument("--version", action="version", version=f"mocoop {__version__}")
    subparsers = parser.add_subparsers(metavar="TOOL", required=True)
    takes_overrides = False
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, docstring in _tools().items():
        summary = docstring.partition("\n")[0]
        subparser = subparsers.add_parser(
            name,
            help=summary.rstrip(".").replace("%", "%%"),
            description=docstring.replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked:
            module = importlib.import_module(f"{tools.__name__}.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
            takes_overrides = getattr(module, "TAKES_OVERRIDES", False)
    return parser, takes_overrides


def _tools() -> dict[str, str]:
    """Docstring of each tool by name, read without importing the tools."""
    docstrings = {}
    for module in sorted(pkgutil.iter_modules(tools.__path__), key=lambda module: module.name):
        if not module.name.startswith("_"):
            source = Path(tools.__path__[0], f"{module.name}.py").read_text(encoding="utf-8")
            docstrings[module.name] = ast.get_docstring(ast.parse(source)) or ""
    return docstrings


if __name__ == "__main__":
    sys.exit(main())
