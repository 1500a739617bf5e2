"""Fits a temperature to a run's training images, and says how far its confidence can be trusted before and after.

mocoop calibrate output/try                 its expected calibration error on the test, as it is and scaled
mocoop calibrate $(dirname output/base2new/*/*/*/CoOp/*/*/result.json)

A test of another run's model, as on new classes, takes the temperature of that run's training images. No test image and
no validation image is looked at, and no answer changes. What is found is kept in calibration.json beside the run's
record; mocoop table --calibration shows it.
"""

import argparse

from mocoop.results.calibration import Calibration, write_calibration
from mocoop.results.render import FORMATS, Cell, Table
from mocoop.runs.scores import calibrate
from mocoop.tools._arguments import add_finished_arguments, in_words, load_finished

NOTE = "ECE: expected calibration error of the test in percent, as it is and with logits divided by the temperature."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_finished_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes what is found beside each run's record and prints a table of it."""
    rows = []
    for one in load_finished(args):
        found = calibrate(one, args.root, args.model, args.device, args.keep_scores)
        write_calibration(one.folder, found)
        rows.append(_row(one.record, found))
    columns = ["Run", "ECE", "ECE scaled", "Temperature", "Fitted on"]
    print(FORMATS[args.format](Table("Calibration", columns, rows, [NOTE])), end="")
    return 0


def _row(record: dict, found: Calibration) -> list:
    values = [Cell(value, None) for value in (found.ece, found.ece_scaled, found.temperature)]
    return [in_words(record), *values, f"{found.images} training images"]
