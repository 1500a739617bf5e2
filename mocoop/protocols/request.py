"""What is asked of a protocol, by arguments, environment variables and defaults."""

import difflib
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mocoop.errors import ConfigError
from mocoop.protocol import ALIASES, CURVE, PROTOCOLS, Phase, part_of
from mocoop.protocols.configs import COMPARED


@dataclass(frozen=True)
class Request:
    """What is asked for. What is None is left to environment variables, and where there are none to the defaults.

    protocol: its name, or that of a part, such as base2new_train. shots: several make a run each. source: the dataset
    that xd and dg train on. data, output: relative to the current folder. overrides: KEY, VALUE, ... for train.py.
    plugins: Python files that register methods.
    """

    protocol: str
    methods: tuple[str, ...] = COMPARED
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    shots: tuple[int, ...] | None = None
    cfg: str | None = None
    source: str | None = None
    data: str | None = None
    output: str | None = None
    overrides: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()

    @property
    def is_curve(self) -> bool:
        """Whether the protocol is about the number of shots."""
        return part_of(self.protocol)[0].measure == CURVE

    @property
    def phases(self) -> tuple[Phase, ...]:
        return part_of(self.protocol)[1]

    def targets(self, phase: Phase) -> tuple[str, ...]:
        """The datasets that a phase runs on."""
        return (self.source,) if phase.on_source else self.datasets


def completed(request: Request, checkout: Path) -> Request:
    """The request with nothing left open but `cfg`. Folders are absolute, or relative to the checkout.

    Raises ConfigError for a variable that cannot be used.
    """
    given = {name: value for name, value in os.environ.items() if value}
    protocol, _ = part_of(request.protocol)
    plugins = request.plugins or _words("PLUGIN", given.get("PLUGIN", ""))
    data, output = request.data or given.get("DATA"), request.output or given.get("OUTPUT")
    overrides = request.overrides or _words("OPTS", given.get("OPTS", ""))
    if len(overrides) % 2:
        raise ConfigError(f"got OPTS '{shlex.join(overrides)}', expected pairs KEY VALUE")
    return replace(
        request,
        datasets=request.datasets or protocol.datasets,
        seeds=request.seeds or whole_numbers("SEED", given.get("SEEDS", "1 2 3").split()),
        shots=request.shots or protocol.shots or whole_numbers("SHOTS", [given.get("SHOTS", "16")], "-?[0-9]+"),
        cfg=request.cfg or given.get("CFG"),
        source=request.source or given.get("SOURCE", "imagenet"),
        data=os.path.join(os.getcwd(), data) if data else "data",
        output=os.path.join(os.getcwd(), output).removeprefix(f"{checkout}/") if output else "output",
        overrides=overrides,
        plugins=tuple(os.path.abspath(plugin) for plugin in plugins),
    )


def check_data(request: Request, checkout: Path, command: str) -> None:
    """Raises ConfigError where a dataset needs a data root that is missing; `command` can be given another."""
    root, datasets = checkout / request.data, {name for phase in request.phases for name in request.targets(phase)}
    if not root.is_dir() and not all(name.startswith("shapes_") for name in datasets):  # those are rendered
        raise ConfigError(f"no data in {root}; get it as DATASETS.md says, then: DATA=/its/folder {command} ...")


def find_protocol(name: str) -> str:
    """The protocol of that name or alias. Raises ConfigError if there is none."""
    return ALIASES.get(name) or known("protocol", name, [*PROTOCOLS, *ALIASES])


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name`, if it is one of `names`. Raises ConfigError, with the nearest of them."""
    names = sorted(names)
    if name in names:
        return name
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), lower, n=1)
    hint = f"did you mean {lower[close[0]]}?" if close else f"expected one of {', '.join(names)}"
    raise ConfigError(f"got the {kind} {name!r}, {hint}")


def whole_numbers(name: str, words: Iterable[str], pattern: str = "[0-9]+") -> tuple[int, ...]:
    """The numbers that `words` are. Raises ConfigError, which calls them `name`, for a word that is none."""
    for word in words:
        if not re.fullmatch(pattern, word):
            raise ConfigError(f"got {name} '{word}', expected a whole number")
    return tuple(map(int, words))


def _words(variable: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ConfigError(f"got {variable} with an open quote: {text}") from None
