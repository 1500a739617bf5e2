"""Options that several tools take: lists separated by commas, and a protocol by its name or alias."""

import argparse

from mocoop.errors import ConfigError
from mocoop.protocol import ALIASES, PROTOCOLS
from mocoop.protocols.request import find_protocol

PROTOCOL_NAMES = ", ".join([*PROTOCOLS, *ALIASES])


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
        if not all(map(str.isdecimal, found)):
            raise ConfigError(f"got {option} {text!r}, expected whole numbers separated by commas")
        return list(map(int, found))


class ProtocolName(argparse.Action):
    """The name of a protocol, for an alias too. Raises ConfigError, with the nearest name, for an unknown one."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, find_protocol(values))
