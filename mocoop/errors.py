"""Errors a user can act on: each is one line that names the thing, what was found and what was expected.

`train.py` and the command line print them without a traceback and exit with status 2.
"""


class MocoopError(Exception):
    """Base of every error that is the input's fault rather than the program's."""


class ConfigError(MocoopError):
    """A configuration key or value, or a command-line argument, that cannot be used."""


class DataError(MocoopError):
    """A dataset, split, manifest or image that is missing, damaged or malformed."""


class CheckpointError(MocoopError):
    """Weights or a checkpoint that is missing, damaged, unsafe or made for something else."""
