"""What is asked of a protocol, by arguments, environment variables and defaults."""

import difflib
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mocoop.checkout import find_config
from mocoop.errors import ConfigError
from mocoop.protocol import ALIASES, CURVE, PROTOCOLS, TRANSFER, Phase, part_of
from mocoop.protocols.configs import COMPARED, setting

DATASETS = "configs/datasets"
DATA = "data"  # the data root where none is given, in the checkout


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


def completed(request: Request, checkout: Path, start: str = "") -> Request:
    """The request with nothing left open but `cfg`. Folders are absolute, or relative to the checkout.

    start: the folder that what is asked for is relative to, if not the current one. Raises ConfigError for a variable
    that cannot be used.
    """
    start = start or os.getcwd()
    given = {name: value for name, value in os.environ.items() if value}
    protocol, _ = part_of(request.protocol)
    plugins = request.plugins or _words("PLUGIN", given.get("PLUGIN", ""))
    data, output = request.data or given.get("DATA"), request.output or given.get("OUTPUT")
    overrides = request.overrides or _words("OPTS", given.get("OPTS", ""))
    if len(overrides) % 2:
        raise ConfigError(f"got OPTS '{shlex.join(overrides)}', expected pairs KEY VALUE")
    source = request.source or given.get("SOURCE", "imagenet")
    return replace(
        request,
        datasets=request.datasets or tuple(n for n in protocol.datasets if n != source or protocol.measure != TRANSFER),
        seeds=request.seeds or _numbers("SEEDS", given, (1, 2, 3)),
        shots=request.shots or _numbers("SHOTS", given, protocol.shots or (16,), "-?[0-9]+"),
        cfg=request.cfg or given.get("CFG"),
        source=source,
        data=os.path.join(start, data) if data else DATA,
        output=os.path.join(start, output).removeprefix(f"{checkout}/") if output else "output",
        overrides=overrides,
        plugins=tuple(os.path.normpath(os.path.join(start, plugin)) for plugin in plugins),
    )


def data_root(request: Request, checkout: Path, dataset: str) -> str:
    """The data root of a dataset's runs; empty where none was given and the dataset's configuration names its own."""
    if request.data != DATA:
        return request.data
    return "" if setting(find_config(checkout, f"{DATASETS}/{dataset}.yaml"), "DATASET.ROOT", {}, "") else DATA


def check_data(request: Request, checkout: Path, command: str) -> None:
    """Raises ConfigError where a dataset needs a data root that is missing; `command` can be given another."""
    datasets = {name for phase in request.phases for name in request.targets(phase)}
    asked = [name for name in datasets if not name.startswith("shapes_")]  # those are rendered
    root = checkout / request.data
    if not root.is_dir() and any(data_root(request, checkout, name) for name in asked):
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


def _numbers(variable: str, given: dict[str, str], default: tuple[int, ...], pattern="[0-9]+") -> tuple[int, ...]:
    text = given.get(variable)
    return default if text is None else whole_numbers(variable, text.split() or [text], pattern)


def dry_run() -> str:
    """What DRY_RUN says; empty where it is not set, or 0."""
    said = os.environ.get("DRY_RUN", "")
    return "" if said == "0" else said


def _words(variable: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ConfigError(f"got {variable} with an open quote: {text}") from None
