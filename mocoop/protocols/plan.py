"""What is asked of a protocol, and the runs it consists of: command lines of train.py, with what each of them needs.

A request is completed from environment variables and defaults, for `mocoop run` and for the scripts of scripts/ alike.
"""

import difflib
import functools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from mocoop.checkout import config_names, find_config, program
from mocoop.errors import ConfigError
from mocoop.names import check_path_word
from mocoop.protocol import ALIASES, CURVE, PROTOCOLS, TRANSFER, Phase, part_of
from mocoop.protocols.configs import (
    COMPARED,
    FOLDER,
    choose_config,
    config_folder,
    default_configs,
    last_epoch,
    setting,
    shapes_config,
)
from mocoop.registry import MethodEntry, listed
from mocoop.results.record import FILE_NAME, glance

DATASETS = "configs/datasets"
DATA = "data"  # the data root where none is given, in the checkout
DECIDED = {  # keys that the command line of each run sets, and what a request says instead
    "SEED": "--seeds (SEEDS)",
    "OUTPUT_DIR": "--output (OUTPUT)",
    "TRAINER.NAME": "--methods",
    "DATASET.NAME": "--datasets",
    "DATASET.ROOT": "--data (DATA)",
    "DATASET.NUM_SHOTS": "--shots (SHOTS)",
    "DATASET.SUBSAMPLE_CLASSES": "another PROTOCOL",
}
CONSOLE = "console.txt"
Place = tuple[Phase, str, int, int]  # phase, dataset, shots, seed


@dataclass(frozen=True)
class Request:
    """What is asked for. What is empty is left to environment variables, and where there are none to the defaults.

    protocol: its name, or that of a part, such as base2new_train. shots: several make a run each. source: the dataset
    that xd and dg train on. data, output: relative to the current folder. overrides: KEY, VALUE, ... for train.py.
    plugins: Python files that register methods.
    """

    protocol: str
    methods: tuple[str, ...] = COMPARED
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    shots: tuple[int, ...] = ()
    cfg: str = ""
    source: str = ""
    data: str = ""
    output: str = ""
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
    _check_overrides(overrides)
    cfg = request.cfg or given.get("CFG", "")
    if cfg:
        check_path_word("--cfg (CFG)", cfg)
    source = request.source or given.get("SOURCE", "imagenet")
    return replace(
        request,
        datasets=request.datasets or tuple(n for n in protocol.datasets if n != source or protocol.measure != TRANSFER),
        seeds=request.seeds or _numbers("SEEDS", given.get("SEEDS", ""), (1, 2, 3)),
        shots=request.shots or _numbers("SHOTS", given.get("SHOTS", ""), protocol.shots or (16,), "-?[0-9]+"),
        cfg=cfg,
        source=source,
        data=os.path.join(start, data) if data else DATA,
        output=os.path.join(start, output).removeprefix(f"{checkout}/") if output else "output",
        overrides=overrides,
        plugins=tuple(os.path.normpath(os.path.join(start, plugin)) for plugin in plugins),
    )


def _check_overrides(overrides: tuple[str, ...]) -> None:
    """Raises ConfigError for words that are no pairs, and for a key that the plan decides."""
    if len(overrides) % 2:
        raise ConfigError(f"got OPTS '{shlex.join(overrides)}', expected pairs KEY VALUE")
    for key, value in zip(overrides[::2], overrides[1::2]):
        for decided, option in DECIDED.items():
            if key == decided or decided.startswith(f"{key}."):
                raise ConfigError(f"got the override {key} {value}, which the plan decides; give {option} instead")


def data_root(request: Request, checkout: Path, dataset: str) -> str:
    """The data root of a dataset's runs; empty where none was given and the dataset's configuration names its own."""
    if request.data != DATA:
        return request.data
    return "" if setting(find_config(checkout, f"{DATASETS}/{dataset}.yaml"), "DATASET.ROOT") else DATA


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


def _numbers(variable: str, text: str, default: tuple[int, ...], pattern: str = "[0-9]+") -> tuple[int, ...]:
    return whole_numbers(variable, text.split() or [text], pattern) if text else default


def dry_run() -> str:
    """What DRY_RUN says; empty where it is not set, or 0."""
    said = os.environ.get("DRY_RUN", "")
    return "" if said == "0" else said


def _words(variable: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ConfigError(f"got {variable} with an open quote: {text}") from None


@dataclass(frozen=True)
class Run:
    """One command line of train.py. Paths are relative to the checkout, or absolute.

    model: folder of the run whose model this one tests, if it does.
    """

    folder: str
    seed: int
    argv: tuple[str, ...]
    model: str | None = None

    @property
    def name(self) -> str:
        """The part of the folder that tells the run: <protocol>/<phase>/.../seed<k>."""
        return "/".join(Path(self.folder).parts[-7:])

    def finished(self, checkout: Path) -> bool:
        return glance(checkout / self.folder / FILE_NAME)[0] == "done"

    def console(self, checkout: Path) -> Path:
        """The file with what it printed; it is there while the run goes on, and where it failed or was interrupted."""
        return checkout / self.folder / CONSOLE

    def command(self, python: str = sys.executable, program: Sequence[str] = ("train.py",)) -> str:
        """The command in full, to be pasted into a shell."""
        return shlex.join((python, *program, *self.argv))


def plan_runs(request: Request, checkout: Path, with_data: bool = True) -> list[Run]:
    """The runs of the request, finished ones too: seed by seed, each after the one whose model it needs.

    Raises ConfigError for what `list_runs` refuses, and, unless it does not matter, where data are missing.
    """
    request = completed(request, checkout)
    runs = list_runs(request, checkout)
    if with_data:
        check_data(request, checkout, "mocoop run")
    return sorted(runs, key=lambda run: run.seed)


def commands(runs: list[Run], checkout: Path) -> Iterator[str]:
    """The command of each run, or a line that says that it is finished."""
    for run in runs:
        yield f"finished already: {run.folder}" if run.finished(checkout) else run.command(program=program(checkout))


def indexed(runs: list[Run], checkout: Path) -> Iterator[str]:
    """A line for each run: its index in the plan, whether it is done, its name and the index of the run it needs."""
    index = {run.folder: number for number, run in enumerate(runs)}
    for number, run in enumerate(runs):
        needs = f"  after {index[run.model]}" if run.model in index else ""
        yield f"{number:5}  {'done' if run.finished(checkout) else 'to do':5}  {run.name}{needs}"


def list_runs(request: Request, checkout: Path) -> list[Run]:
    """The runs of a completed request, each once: method by method, phase by phase.

    Methods that cannot score new classes are not tested on them. Raises ConfigError if nothing is left, for
    a method or dataset that does not exist, and for a configuration that is not there or does not say how many epochs
    it trains.
    """
    methods, datasets = listed(request.plugins), config_names(checkout, DATASETS)
    for name in request.methods:
        known("method", name, {*methods, *config_names(checkout, FOLDER)})
    for phase in request.phases:
        for dataset in request.targets(phase):
            known("source" if phase.on_source else "dataset", dataset, datasets)
    epoch_of = functools.cache(functools.partial(last_epoch, checkout))
    folders = {name: config_folder(checkout, name, request.plugins) for name in request.methods}
    shapes = shapes_config(find_config(checkout, folder) for folder in folders.values())
    runs: dict[Run, None] = {}  # each once, in their order
    for name, phase in product(request.methods, request.phases):
        method = methods.get(name, MethodEntry(name, file=checkout))
        if phase.has_new_classes and not method.new_classes:
            continue
        make = functools.partial(_make_run, request, checkout, folders[name], shapes, epoch_of, method)
        runs |= dict.fromkeys(map(make, _places(request, method, phase)))
    if not runs and request.methods:
        names = ", ".join(request.methods)
        raise ConfigError(f"{names}: no run of {request.protocol}, which tests classes that were not trained")
    return list(runs)


def _places(request: Request, method: MethodEntry, phase: Phase) -> Iterator[Place]:
    shots, targets = request.shots if method.learns else (0,), request.targets(phase)
    pairs = product(targets, shots) if request.is_curve else ((name, number) for number in shots for name in targets)
    return ((phase, *pair, seed) for pair in pairs for seed in request.seeds)


def _make_run(
    request: Request,
    checkout: Path,
    configs: str,
    shapes: str,
    epoch_of: Callable[[str, tuple], str | None],
    method: MethodEntry,
    place: Place,
) -> Run:
    """configs: the folder of the method's configurations. shapes: the name of those for the Shapes sets."""
    phase, dataset, shots, seed = place
    trained = phase.model or phase if method.learns else phase
    source = request.source if trained.on_source else dataset  # what the model is, or was, trained on
    names = default_configs(method.name, trained.protocol, source, shots, shapes)
    cfg, file = choose_config(checkout, configs, (request.cfg,) if request.cfg else names, source)

    def folder(phase: Phase, dataset: str) -> str:
        return f"{request.output}/{phase.folder}/{dataset}/shots_{shots}/{method.name}/{cfg}/seed{seed}"

    root = data_root(request, checkout, dataset)
    argv = [*(["--root", root] if root else []), "--seed", str(seed), "--trainer", method.name]
    argv += [word for plugin in request.plugins for word in ("--plugin", plugin)]
    argv += ["--dataset-config-file", f"{DATASETS}/{dataset}.yaml", "--config-file", file]
    argv += ["--output-dir", folder(phase, dataset)]
    model = None if trained is phase else folder(trained, source)
    if model:
        epoch = epoch_of(file, request.overrides)
        argv += ["--eval-only", "--model-dir", model, *(["--load-epoch", epoch] if epoch else [])]
    elif not method.learns:
        argv += ["--eval-only"]
    argv += ["DATASET.NUM_SHOTS", str(shots), "DATASET.SUBSAMPLE_CLASSES", phase.classes, *request.overrides]
    return Run(folder(phase, dataset), seed, tuple(argv), model)
