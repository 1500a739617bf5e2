"""Options that several tools take: lists separated by commas, and what of the runs they choose."""

import argparse
import logging

import pandas as pd

from mocoop.errors import ConfigError
from mocoop.protocol import ALIASES, PROTOCOLS
from mocoop.results.collect import ALL_SHOTS
from mocoop.results.coop_logs import LOG_MARK

PROTOCOL_NAMES = ", ".join([*PROTOCOLS, *ALIASES])

logger = logging.getLogger(__name__)


class Names(argparse.Action):
    """Names such as "CoOp,MaPLe", each once. Raises ConfigError where one is empty."""

    def __call__(self, parser, namespace, values, option_string=None):
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
        names = Names.parse(self, option, text)
        numbers = [number for name in names if name != "all" for number in super(Shots, self).parse(option, name)]
        return numbers + [ALL_SHOTS] * ("all" in names)


def only(runs: pd.DataFrame, wanted: dict[str, list | None]) -> pd.DataFrame:
    """The runs with these values, {column: values, None for all}; a line on stderr names those that no run has."""
    for column, values in wanted.items():
        if values is not None:
            found = runs[column].str.removesuffix(LOG_MARK) if column == "method" else runs[column]
            if absent := [str(value) for value in values if value not in set(found)]:
                logger.warning("no run has %s %s", column, ", ".join(absent))
            runs = runs[found.isin(values)]
    return runs
