"""Shows what a run got wrong: worst classes, confused pairs, and how far its confidence can be trusted.

mocoop errors output/try                    a summary
mocoop errors output/try --out errors       and errors.csv, confusions.csv, per_class.csv

errors.csv lists the wrongly classified images, the most confident first: path, truth, prediction, confidence, and
for methods that route the experts and their weights; with --all the right ones follow.
"""

import argparse
from pathlib import Path

import pandas as pd

from mocoop.files import atomic_write, check_unused
from mocoop.results.csv_files import Mistakes, as_text, read_mistakes

SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="a run's output folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the three tables there")
    parser.add_argument("--all", action="store_true", help="list all images in errors.csv, with a column `right`")
    parser.add_argument("--force", action="store_true", help="replace tables in FOLDER")


def run(args: argparse.Namespace) -> int:
    """Prints the summary; writes the tables where asked."""
    mistakes = read_mistakes(args.run_folder)
    images = mistakes.images if args.all else mistakes.errors().drop(columns="right")
    tables = {
        "errors": as_text(images),
        "confusions": mistakes.confusions().drop(columns="label"),
        "per_class": mistakes.per_class(),
    }
    if args.out is not None:
        _write(tables, args.out, args.force)
    _print_summary(mistakes)
    return 0


def _write(tables: dict[str, pd.DataFrame], folder: Path, force: bool) -> None:
    paths = {name: folder / f"{name}.csv" for name in tables}
    for path in paths.values():
        check_unused(path, force)
    for name, path in paths.items():
        with atomic_write(path) as file:
            tables[name].to_csv(file, index=False, lineterminator="\n", float_format="%.6g")
        print(f"{path}: {len(tables[name])} rows")


def _print_summary(mistakes: Mistakes) -> None:
    record, errors = mistakes.record, mistakes.errors()
    tested = len(mistakes.images)
    print(
        f"{record['method']} on {record['dataset']} ({record['subsample_classes']} classes, {record['split']} split): "
        f"{len(errors)} of {tested} images wrong ({100 * len(errors) / tested:.1f} %)"
    )
    print("worst classes")
    rows = mistakes.per_class().query("total > 0 and correct < total").head(SHOWN)
    for row in rows.itertuples(index=False):
        taken = f", most often taken for {row.taken_for}" if row.taken_for else ""
        print(f"  {row.accuracy:5.1f} %  {row[0]} ({row.correct} of {row.total}{taken})")
    print("most confused pairs")
    for row in mistakes.confusions().head(SHOWN).itertuples(index=False):
        print(f"  {row[3]:4d}  {row.truth} taken for {row.prediction} ({row.share:.0f} % of the class)")
    print(_calibration(mistakes))
    if len(errors):
        print(
            f"most confident error: {errors.iloc[0].path}, {errors.iloc[0].truth} taken for "
            f"{errors.iloc[0].prediction} with {100 * errors.iloc[0].confidence:.1f} %"
        )


def _calibration(mistakes: Mistakes) -> str:
    gap, ece = mistakes.overconfidence(), mistakes.record["metrics"].get("ece")
    if abs(gap) < 1:
        meaning = "its mean confidence is its accuracy within a point"
    else:
        meaning = f"its mean confidence is {abs(gap):.1f} points {'above' if gap > 0 else 'below'} its accuracy"
    return f"calibration: {meaning}" + (f"; expected calibration error {ece:.1f} %" if ece is not None else "")
