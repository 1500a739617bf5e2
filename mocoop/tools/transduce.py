"""Puts TransCLIP, StatA or TDA on top of finished runs: they see the test images together, without labels or training.

mocoop transduce output/try --with transclip                            all test images at once
mocoop transduce RUN --with stata --batch 64 --order 1,2,3              64 at a time, in three orders
mocoop transduce RUN --with stata --batch 64 --classes-in-batch 2       each batch with images of two classes
mocoop transduce RUN --with tda --set alpha=4 --set beta=8              one after the other

What it gives is kept in the run's folder, below transduced/: a record of its own for each order. Tables show such runs
apart from others. The run's images and weights have to be there, as its features and scores are computed from them;
with --keep-scores they are kept for the next time.
"""

import argparse

import pandas as pd

from mocoop.errors import ConfigError
from mocoop.files import check_unused
from mocoop.results.record import FILE_NAME
from mocoop.results.render import FORMATS, Cell, Table
from mocoop.runs.scores import scores_of
from mocoop.tools._arguments import Numbers, add_finished_arguments, in_words, load_finished
from mocoop.transduce.apply import Batches, OnTop, run_folder, seen_together, write_outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_finished_arguments(parser)
    parser.add_argument("--with", dest="method", required=True, metavar="M", help="transclip, stata or tda")
    parser.add_argument("--batch", type=int, metavar="N", help="images that are seen together (default: all)")
    parser.add_argument("--classes-in-batch", type=int, metavar="K", help="draw each batch from K classes")
    order = "orders in which the images come, each a seed (default: 1); where it matters"
    parser.add_argument("--order", action=Numbers, metavar="N,M", help=order)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the method")
    parser.add_argument("--force", action="store_true", help="replace what an earlier call left")


def run(args: argparse.Namespace) -> int:
    """Writes the records and prints a table of them."""
    on_top = OnTop.parse(args.method, args.set, Batches(args.batch, args.classes_in_batch))
    if args.order and not on_top.has_order:
        raise ConfigError(f"got --order, expected --batch N with it: {on_top.name} sees all test images at once")
    orders = (args.order or [1]) if on_top.has_order else [None]
    runs = load_finished(args)
    for one in runs:
        for order in orders:
            check_unused(run_folder(one, on_top, order) / FILE_NAME, args.force)
    rows, written = [], []
    for one in runs:
        scores = scores_of(one, args.root, args.model, args.device, args.keep_scores)
        outcomes = [on_top(scores, order or 0) for order in orders]
        written += [write_outcome(one, on_top, scores.labels, outcome, args.force) for outcome in outcomes]
        rows.append(_row(one.record, pd.Series([outcome.accuracy(scores.labels) for outcome in outcomes])))
    if len(orders) > 1:  # where the records of all orders of a run are
        written = list(dict.fromkeys(folder.parent for folder in written))
    notes = [_note(on_top, len(orders)), *map(str, written)]
    table = Table(f"{on_top.label} on top of finished runs", ["Run", "Alone", on_top.label, "Change"], rows, notes)
    print(FORMATS[args.format](table), end="")
    return 0


def _row(record: dict, accuracies: pd.Series) -> list:
    before, mean = record["metrics"]["accuracy"], float(accuracies.mean())
    spread = float(accuracies.std()) if len(accuracies) > 1 else None
    return [in_words(record), Cell(before, None), Cell(mean, spread), Cell(mean - before, None, signed=True)]


def _note(on_top: OnTop, orders: int) -> str:
    several = f", mean ± sample standard deviation over {orders} orders of the images" if orders > 1 else ""
    return f"Accuracy in percent{several}. The test images are seen {seen_together(on_top)}, without their labels."
