"""What a check finds, and running checks so that one that breaks does not hide the others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mocoop.errors import MocoopError

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"


@dataclass(frozen=True)
class Finding:
    """One line about one thing.

    Attributes:
        state: OK; NOTE, something optional is absent; or PROBLEM, something will fail.
        about: what was looked at.
        text: what was found, and for a problem what to do about it.
    """

    state: str
    about: str
    text: str


def diagnose(checks: Iterable[tuple[str, Callable[[], Iterable[Finding]]]]) -> Iterator[Finding]:
    """What the checks, given with what they are about, find. A check that cannot be run is a problem.

    Where several fail for one cause it is told once, and of the others that they were not made.
    """
    causes: dict[str, str] = {}
    for about, check in checks:
        try:
            yield from check()
        except (MocoopError, ImportError, OSError) as error:
            cause = _cause(error)
            if cause in causes:
                yield Finding(NOTE, about, f"not checked, see {causes[cause]}")
            else:
                causes[cause] = about
                yield Finding(PROBLEM, about, cause)


def _cause(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name} is missing: install what this project needs, pip install -e . in the checkout"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
