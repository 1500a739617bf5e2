"""Arguments that several tools take: lists separated by commas, what of the runs they choose, how a run is loaded."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mocoop.errors import ConfigError, DataError
from mocoop.files import read_text
from mocoop.protocol import ALIASES, PROTOCOLS

if TYPE_CHECKING:  # slow to import, and not needed by all tools
    import pandas as pd

    from mocoop.runs.scores import FinishedRun
    from mocoop.runs.trained_run import TrainedRun

PROTOCOL_NAMES = ", ".join([*PROTOCOLS, *ALIASES])

logger = logging.getLogger(__name__)


class Names(argparse.Action):
    """Names such as "CoOp,MaPLe", each once. Raises ConfigError where one is empty."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:  # type: ignore[no-untyped-def]
        setattr(namespace, self.dest, self.parse(option_string, values) if isinstance(values, str) else values)

    def parse(self, option: str, text: str) -> list:
        found = list(dict.fromkeys(name.strip() for name in text.split(",")))
        if "" in found:
            raise ConfigError(f"got {option} {text!r}, expected names separated by commas")
        return found


class Numbers(Names):
    """Whole numbers such as "1,2,3", each once. Raises ConfigError where one is none."""

    def parse(self, option: str, text: str) -> list:
        found = super().parse(option, text)
        if not all(number.isdecimal() and len(number) < 10 for number in found):
            raise ConfigError(f"got {option} {text!r}, expected whole numbers separated by commas")
        return list(map(int, found))


class Shots(Numbers):
    """Numbers of images a class, "all" for all images, as in "1,16,all". Raises ConfigError where one is neither."""

    def parse(self, option: str, text: str) -> list:
        from mocoop.results.runs import ALL_SHOTS

        names = Names.parse(self, option, text)
        numbers = [number for name in names if name != "all" for number in super(Shots, self).parse(option, name)]
        return numbers + [ALL_SHOTS] * ("all" in names)


def as_given(value: str | int) -> str:
    """A name, a number or `all`, as `Names`, `Numbers` or `Shots` took it."""
    from mocoop.results.runs import ALL_SHOTS

    return "all" if value == ALL_SHOTS else str(value)


def only(runs: "pd.DataFrame", wanted: dict[str, list | None], warn: bool = True) -> "pd.DataFrame":
    """The runs with these values, {column: values, None for all}; with `warn`, those that no run has are named."""
    from mocoop.results.coop_logs import LOG_MARK

    for column, values in wanted.items():
        if values is not None:
            found = runs[column].str.removesuffix(LOG_MARK) if column == "method" else runs[column]
            if warn and (absent := [as_given(value) for value in values if value not in set(found)]):
                logger.warning("no run has %s %s", column, ", ".join(absent))
            runs = runs[found.isin(values)]
    return runs


def with_transduced(folder: str) -> "pd.DataFrame":
    """The runs below a folder, with gaps, and what `mocoop transduce` left in them."""
    from mocoop.results.runs import collect, collect_transduced, merge, place_strays

    return place_strays(merge([collect(folder), collect_transduced(folder)]).with_gaps())[0]


def without(runs: "pd.DataFrame", datasets: list[str] | None) -> "pd.DataFrame":
    """The runs without those of some data sets, named as in any spelling: eurosat, EuroSAT. Raises DataError."""
    for name in datasets or []:
        found = runs["dataset"].map(_plain) == _plain(name)
        if not found.any():
            known = ", ".join(dict.fromkeys(runs["dataset"])) or "none"
            raise DataError(f"got --without {name}, expected data sets that there are runs of: {known}")
        runs = runs[~found]
    return runs


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def add_run_arguments(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """--epoch, --backbone, --plugin and --device, which `open_run` heeds."""
    parser.add_argument("--epoch", type=int, metavar="N", help="weights after N epochs (default: those tested)")
    parser.add_argument("--backbone", metavar="NAME|FILE", help="where the run's CLIP is, if it moved")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="file that registers its method")
    parser.set_defaults(device="cpu")
    if device:
        parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: %(default)s)")


def add_finished_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN ..., and what it takes to score the images of finished runs: `load_finished` and `scores_of` heed it."""
    from mocoop.results.render import FORMATS

    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's output folder")
    parser.add_argument("--root", metavar="DIR", help="where the data are, if they moved")
    parser.add_argument("--model", metavar="RUN", help="the run whose weights RUN tested, if it moved")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="file that registers its method")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (default: %(default)s)")
    parser.add_argument("--keep-scores", action="store_true", help="keep features and scores in the run's folder")
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="default: %(default)s")


def load_finished(args: argparse.Namespace) -> "list[FinishedRun]":
    """The runs of `add_finished_arguments`, after their plugins."""
    from mocoop.runs.scores import FinishedRun

    _load_methods(args.plugin)
    return [FinishedRun.read(folder) for folder in args.runs]


def in_words(record: dict) -> str:
    """Which run a record is of, as a label of a table's row."""
    return f"{record['method']} on {record['dataset']}, {record['subsample_classes']} classes, seed {record['seed']}"


def add_class_arguments(parser: argparse.ArgumentParser) -> None:
    """--classes and --classes-file."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--classes", metavar="A,B,C", help="other class names than the run's")
    either.add_argument("--classes-file", type=Path, metavar="FILE", help="other class names, one on each line")


def open_run(path: str, args: argparse.Namespace) -> "TrainedRun":
    """The run in a folder, over the classes that were asked for."""
    from mocoop.runs.trained_run import load_run

    _load_methods(args.plugin)
    run = load_run(path, epoch=args.epoch, device=args.device, backbone=args.backbone)
    names = asked_classes(args)
    return run if names is None else run.with_classes(names)


def _load_methods(plugins: list[str]) -> None:
    from mocoop.methods import load_plugin

    logging.getLogger("mocoop.methods").setLevel(logging.WARNING)  # what each prompt starts from belongs to training
    for plugin in plugins:
        load_plugin(plugin)


def asked_classes(args: argparse.Namespace) -> list[str] | None:
    """Class names from the command line, or None if none were given. Raises DataError for an unreadable file."""
    if getattr(args, "classes", None) is not None:
        return args.classes.split(",")
    if getattr(args, "classes_file", None) is None:
        return None
    lines = read_text(args.classes_file, "text of class names", encoding="utf-8-sig").splitlines()
    return [line for line in lines if line.strip()]
