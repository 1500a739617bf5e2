"""Which runs a protocol consists of: what the scripts of scripts/<method>/ would run.

The scripts are asked, so that a protocol and its scripts run the same commands in the same folders.
"""

import difflib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mocoop.errors import ConfigError
from mocoop.results.by_protocol import ALIASES
from mocoop.results.record import FILE_NAME

ELEVEN = "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
SHIFTED = "imagenetv2 imagenet_sketch imagenet_a imagenet_r"
METHODS = ("ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp")


@dataclass(frozen=True)
class Protocol:
    """scripts: in their order. datasets: those of the papers."""

    scripts: tuple[str, ...]
    datasets: tuple[str, ...]


PROTOCOLS = {
    "base2new": Protocol(("base2new_train", "base2new_test"), tuple(ELEVEN.split())),
    "few_shot": Protocol(("few_shot",), tuple(ELEVEN.split())),
    "xd": Protocol(("xd_train", "xd_test"), tuple(ELEVEN.split()[1:])),
    "dg": Protocol(("xd_train", "dg_test"), tuple(SHIFTED.split())),
}


@dataclass(frozen=True)
class Request:
    """What is asked for. What is None is left to the scripts: to their environment variables and their defaults.

    shots: several make a run each. source: the dataset that xd and dg train on.
    overrides: KEY, VALUE, KEY, VALUE, ... for train.py.
    """

    protocol: str
    methods: tuple[str, ...] = METHODS
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    shots: tuple[int, ...] | None = None
    cfg: str | None = None
    source: str | None = None
    data: str | None = None
    output: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One command line of train.py. Paths are relative to the checkout, or absolute."""

    argv: tuple[str, ...]

    @property
    def folder(self) -> str:
        return self._value("--output-dir")

    @property
    def model(self) -> str | None:
        """Folder of the run whose model this one tests, if it does."""
        return self._value("--model-dir") if "--model-dir" in self.argv else None

    @property
    def seed(self) -> int:
        return int(self._value("--seed"))

    @property
    def name(self) -> str:
        """The part of the folder that tells the run: <protocol>/<phase>/.../seed<k>."""
        return "/".join(Path(self.folder).parts[-7:])

    def finished(self, checkout: Path) -> bool:
        try:
            return json.loads((checkout / self.folder / FILE_NAME).read_text(encoding="utf-8"))["status"] == "done"
        except (OSError, ValueError, KeyError, TypeError):  # train.py names a damaged record
            return False

    def _value(self, flag: str) -> str:
        return self.argv[self.argv.index(flag) + 1]


def find_protocol(name: str) -> str:
    """The protocol of that name or alias. Raises ConfigError if there is none."""
    return ALIASES.get(name) or known("protocol", name, [*PROTOCOLS, *ALIASES])


def plan_runs(request: Request, checkout: Path) -> list[Run]:
    """The runs of the request, finished ones too: seed by seed, each after the one whose model it needs.

    Raises ConfigError for a name that does not exist and for whatever the scripts refuse.
    """
    lines = ask_scripts(request, checkout, mode="plan")
    runs = {Run(tuple(shlex.split(line)[2:])): None for line in lines}
    return sorted(runs, key=lambda run: run.seed)


def ask_scripts(request: Request, checkout: Path, mode: str) -> list[str]:
    """What the scripts print with DRY_RUN=mode: command lines, "1" also a line for each finished run."""
    protocol = PROTOCOLS[request.protocol]
    methods, configs = script_folders(checkout), [path.stem for path in checkout.glob("configs/datasets/*.yaml")]
    folders = [methods[known("method", name, methods)] for name in request.methods]
    datasets = [known("dataset", name, configs) for name in request.datasets or protocol.datasets]
    if request.source:
        known("source", request.source, configs)
    lines = {}
    for folder in folders:
        for script in protocol.scripts:
            for arguments, settings in _calls(request, script, datasets):
                lines |= dict.fromkeys(_ask(folder / f"{script}.sh", arguments, settings | {"DRY_RUN": mode}))
    return list(lines)


def script_folders(checkout: Path) -> dict[str, Path]:
    """The folder of scripts of each method that has one: the name that its scripts set as TRAINER."""
    folders = {}
    for script in sorted(checkout.glob("scripts/*/base2new_train.sh")):
        names = [line[8:] for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("TRAINER=")]
        folders |= {name: script.parent for name in names}
    return folders


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name`, if it is one of `names`. Raises ConfigError, with the nearest of them."""
    names = sorted(names)
    if name in names:
        return name
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), lower, n=1)
    hint = f"did you mean {lower[close[0]]}?" if close else f"expected one of {', '.join(names)}"
    raise ConfigError(f"got the {kind} {name!r}, {hint}")


def _calls(request: Request, script: str, datasets: list[str]) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and environment variables of each call of a script."""
    seeds, shots = (list(map(str, values or ())) for values in (request.seeds, request.shots))
    given = {"CFG": request.cfg, "SOURCE": request.source, "DATA": request.data, "OUTPUT": request.output}
    settings = {name: value for name, value in given.items() if value}
    settings |= {"OPTS": shlex.join(request.overrides)} if request.overrides else {}
    if script == "few_shot":
        settings |= {"SEEDS": " ".join(seeds)} if seeds else {}
        return [([dataset, *shots], settings) for dataset in datasets]
    per_shots = [settings | {"SHOTS": number} for number in shots] or [settings]
    targets = [[]] if script == "xd_train" else [[dataset] for dataset in datasets]
    return [([*target, *seeds], settings) for settings in per_shots for target in targets]


def _ask(script: Path, arguments: list[str], settings: dict[str, str]) -> list[str]:
    settings = os.environ | {"PYTHON": sys.executable} | settings
    try:
        done = subprocess.run(["bash", str(script), *arguments], env=settings, capture_output=True, text=True)
    except FileNotFoundError:
        raise ConfigError("found no bash on the path, expected it to read scripts/; install it") from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        raise ConfigError(reason or f"{script} ended with status {done.returncode}")
    return done.stdout.splitlines()
