"""Shows which words lie nearest to the learned context vectors, beside what random vectors reach.

mocoop interpret output/try
mocoop interpret output/try --top 3 --json contexts.json
"""

import argparse
import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from textwrap import fill

from mocoop.errors import ConfigError
from mocoop.files import atomic_write, check_unused
from mocoop.runs.interpretation import DIRECTIONS, MEANING, Position, Vocabulary, interpret
from mocoop.tools._arguments import add_run_arguments, open_run

WIDTH = 110
LEGEND = (
    "Each line: context vector, the token it started from and how far it moved, its nearest tokens with their "
    "distances, the distance of a random vector of its length to its nearest token (mean ± std), and how many of "
    f"{DIRECTIONS} such vectors lie as near."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="a run's output folder, or a checkpoint")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="nearest tokens shown (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as json")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_run_arguments(parser, device=False)


def run(args: argparse.Namespace) -> int:
    """Prints the contexts, expert by expert."""
    if args.top < 1:
        raise ConfigError(f"--top is {args.top}, expected 1 or more")
    if args.json is not None:
        check_unused(args.json, args.force)
    trained = open_run(args.run_folder, args)
    clip_model = trained.method.clip_model
    vocabulary = Vocabulary(clip_model.token_embedding.weight.detach(), clip_model.tokenizer)
    positions = list(interpret(trained, vocabulary, args.top))
    print(f"{vocabulary.size} trained tokens; half of them have another within {vocabulary.neighbour:.3f}")
    print(fill(LEGEND, WIDTH))
    for (expert, side), members in groupby(positions, lambda position: (position.expert, position.side)):
        print(f"\n{expert + ', ' if expert else ''}{side} the class name")
        for position in members:
            print(f"  {_line(position)}")
    print("\n" + fill(MEANING, WIDTH))
    if args.json is not None:
        about = {"tokens": vocabulary.size, "neighbour": vocabulary.neighbour, "meaning": MEANING}
        with atomic_write(args.json) as file:
            json.dump(about | {"positions": [asdict(position) for position in positions]}, file, indent=1)
    return 0


def _line(position: Position) -> str:
    start = f"{position.start} +{position.moved:.3f}" if position.start is not None else "noise"
    if position.start is None and position.moved is not None:
        start = f"mean +{position.moved:.3f}"
    nearest = ", ".join(f"{token} {distance:.3f}" for token, distance in position.nearest)
    random = f"random {position.random_mean:.3f} ± {position.random_std:.3f}, {position.random_nearer:.0f} % as near"
    return f"{position.position:>2}  {start:<18} {nearest}  | {random}"
