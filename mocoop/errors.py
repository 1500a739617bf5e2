"""Errors a user can act on: each is one line that names the thing, what was found and what was expected.

`train.py` and the command line print them without a traceback and exit with status 2. What they quote comes from files
and names that others made, so a message is always one line that a terminal shows as it is.
"""

LONGEST = 2000  # characters of a message


def one_line(text: object, longest: int = LONGEST) -> str:
    """`text` in one line of at most `longest` characters, of which the middle is left out where it has more.

    White space becomes single spaces; characters that do not print, such as a terminal's escape codes, marks that turn
    the direction of writing and halves of surrogate pairs, are written as Python writes them in a string.
    """
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
    if len(line) > longest:
        kept = longest - 5
        line = f"{line[: kept - kept // 3]} ... {line[-(kept // 3) :]}"
    return line


def quoted(value: object, longest: int = 80) -> str:
    """`value` as an error quotes it: its `repr`, shortened."""
    if isinstance(value, (str, bytes)) and len(value) > 4 * longest:
        value = value[: 2 * longest] + value[-2 * longest :]  # type: ignore[operator]  # both of one kind
    return one_line(repr(value), longest)


def reason_of(error: BaseException, longest: int = 160) -> str:
    """What an exception says, for use in a message: its text shortened, or its name where it has none."""
    return one_line(error, longest) or type(error).__name__


class MocoopError(Exception):
    """Base of every error that is the input's fault rather than the program's."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(MocoopError):
    """A configuration key or value, or a command-line argument, that cannot be used."""


class DataError(MocoopError):
    """A dataset, split, manifest or image that is missing, damaged or malformed."""


class TrainingError(MocoopError):
    """Training that cannot go on by itself."""


class CheckpointError(MocoopError):
    """Weights or a checkpoint that is missing, damaged, unsafe or made for something else."""
