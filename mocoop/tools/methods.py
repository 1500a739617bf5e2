"""Lists the methods, or says what the keys of one mean.

mocoop methods                        all, in the order of their papers
mocoop methods MoCoOp                 its keys: default, meaning, and which of them travel with a checkpoint
mocoop methods Mine --plugin mine.py  those of a method of one's own
"""

import argparse

from mocoop.errors import ConfigError
from mocoop.registry import listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", nargs="?", metavar="METHOD", help="say what its keys mean")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="file that registers methods")


def run(args: argparse.Namespace) -> int:
    """Prints the list, or the keys."""
    known = listed(tuple(args.plugin))
    if args.method is None:
        width = max(map(len, known))
        for method in known.values():
            print(f"{method.name:<{width}}  {method.published}  {method.title}")
        return 0
    if args.method not in known:
        raise ConfigError(
            f"there is no method {args.method!r}, expected one of {', '.join(known)}, or that of a --plugin"
        )
    _print_keys(args.method, args.plugin)
    return 0


def _print_keys(name: str, plugins: list[str]) -> None:
    from mocoop.methods import get_method, load_plugin  # brings torch along

    for plugin in plugins:
        load_plugin(plugin)
    entry = get_method(name)
    print(f"{entry.name} ({entry.published}): {entry.title}")
    if not entry.keys:
        print("It has no keys.")
    for key in entry.keys:
        print(f"\nTRAINER.{entry.node}.{key.name} {key.default!r}")
        travels = " Travels with a checkpoint." if key.structural else ""
        print(f"    {key.help}.{travels}")
