"""Fits a temperature to a run's training images, and says how far its confidence can be trusted before and after.

mocoop calibrate output/try                 its expected calibration error on the test, as it is and scaled
mocoop calibrate $(dirname output/base2new/*/*/*/CoOp/*/*/result.json)

A test of another run's model, as on new classes, takes the temperature of that run's training images. No test image and
no validation image is looked at, and no answer changes. What is found is kept in calibration.json beside the run's
record; mocoop table --calibration shows it.
"""

import argparse

from mocoop.methods import load_plugin
from mocoop.results.calibration import Calibration, write_calibration
from mocoop.results.render import FORMATS, Cell, Table
from mocoop.runs.scores import FinishedRun, calibrate

NOTE = "ECE: expected calibration error of the test in percent, as it is and with logits divided by the temperature."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's output folder")
    parser.add_argument("--root", metavar="DIR", help="where the data are, if they moved")
    parser.add_argument("--model", metavar="RUN", help="the run whose weights RUN tested, if it moved")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="file that registers its method")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (default: %(default)s)")
    parser.add_argument("--keep-scores", action="store_true", help="keep features and scores in the run's folder")
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Writes what is found beside each run's record and prints a table of it."""
    for plugin in args.plugin:
        load_plugin(plugin)
    rows = []
    for one in [FinishedRun.read(folder) for folder in args.runs]:
        found = calibrate(one, args.root, args.model, args.device, args.keep_scores)
        write_calibration(one.folder, found)
        rows.append(_row(one.record, found))
    columns = ["Run", "ECE", "ECE scaled", "Temperature", "Fitted on"]
    print(FORMATS[args.format](Table("Calibration", columns, rows, [NOTE])), end="")
    return 0


def _row(record: dict, found: Calibration) -> list:
    named = f"{record['method']} on {record['dataset']}, {record['subsample_classes']} classes, seed {record['seed']}"
    values = [Cell(value, None) for value in (found.ece, found.ece_scaled, found.temperature)]
    return [named, *values, f"{found.images} training images"]
