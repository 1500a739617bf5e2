"""Arguments that the tools which load a run share."""

import argparse
import logging
from pathlib import Path

from mocoop.files import read_text
from mocoop.methods import load_plugin
from mocoop.runs.trained_run import TrainedRun, load_run


def add_run_arguments(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """--epoch, --backbone, --plugin and --device."""
    parser.add_argument("--epoch", type=int, metavar="N", help="weights after N epochs (default: those tested)")
    parser.add_argument("--backbone", metavar="NAME|FILE", help="where the run's CLIP is, if it moved")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="file that registers its method")
    parser.set_defaults(device="cpu")
    if device:
        parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: %(default)s)")


def add_class_arguments(parser: argparse.ArgumentParser) -> None:
    """--classes and --classes-file."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--classes", metavar="A,B,C", help="other class names than the run's")
    either.add_argument("--classes-file", type=Path, metavar="FILE", help="other class names, one on each line")


def open_run(path: str, args: argparse.Namespace) -> TrainedRun:
    """The run in a folder, over the classes that were asked for."""
    logging.getLogger("mocoop.methods").setLevel(logging.WARNING)  # what each prompt starts from belongs to training
    for plugin in args.plugin:
        load_plugin(plugin)
    run = load_run(path, epoch=args.epoch, device=args.device, backbone=args.backbone)
    names = asked_classes(args)
    return run if names is None else run.with_classes(names)


def asked_classes(args: argparse.Namespace) -> list[str] | None:
    """Class names from the command line, or None if none were given. Raises DataError for an unreadable file."""
    if getattr(args, "classes", None) is not None:
        return args.classes.split(",")
    if getattr(args, "classes_file", None) is None:
        return None
    lines = read_text(args.classes_file, "text of class names", encoding="utf-8-sig").splitlines()
    return [line for line in lines if line.strip()]
