"""Types of options that take several values, separated by commas."""

import argparse


def names(text: str) -> list[str]:
    """The names in `text`, such as "CoOp,MaPLe"."""
    return [name.strip() for name in text.split(",")]


def numbers(text: str) -> list[int]:
    """The whole numbers in `text`, such as "1,2,3"; raises ArgumentTypeError, from which argparse makes one line."""
    if not all(name.isdecimal() for name in names(text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected whole numbers separated by commas")
    return list(map(int, names(text)))
