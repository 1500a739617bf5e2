"""Which runs a request consists of: a list of command lines of train.py, with what each of them needs."""

import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mocoop.catalog import Listed, listed
from mocoop.checkout import config_names, find_config, program
from mocoop.errors import ConfigError
from mocoop.protocol import Phase
from mocoop.protocols.configs import (
    FOLDER,
    Configs,
    config_folder,
    last_epoch,
    shapes_config,
)
from mocoop.protocols.request import DATASETS, Request, check_data, completed, data_root, known
from mocoop.results.record import FILE_NAME, glance

CONSOLE = "console.txt"
Place = tuple[Phase, str, int, int]  # phase, dataset, shots, seed


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
        return " ".join(map(shell_word, (python, *program, *self.argv)))


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

    Tests on new classes are left out for a method that has no word on them. Raises ConfigError if nothing is left, for
    a method or dataset that does not exist, and for a configuration that is not there or does not say how many epochs
    it trains.
    """
    methods, datasets = listed(request.plugins), config_names(checkout, DATASETS)
    for method in request.methods:
        known("method", method, {*methods, *config_names(checkout, FOLDER)})
    for phase in request.phases:
        for dataset in request.targets(phase):
            known("source" if phase.on_source else "dataset", dataset, datasets)
    epoch_of = functools.cache(functools.partial(last_epoch, checkout))
    folders = {name: config_folder(checkout, name, request.plugins) for name in request.methods}
    shapes = shapes_config(find_config(checkout, folder) for folder in folders.values())
    runs = {}
    for name, phase in product(request.methods, request.phases):
        method = methods.get(name, Listed(name, file=checkout))
        if phase.has_new_classes and not method.new_classes:
            continue
        configs = Configs(checkout, folders[name], shapes, request.cfg)
        make = functools.partial(_make_run, request, configs, epoch_of, method)
        runs |= dict.fromkeys(map(make, _places(request, method, phase)))
    if not runs and request.methods:
        told = ", ".join(request.methods)
        raise ConfigError(f"{told}: no run of {request.protocol}, which tests classes that were not trained")
    return list(runs)


def shell_word(word: str) -> str:
    """`word` as bash's `printf %q` writes it."""
    return re.sub(r"[\s!\"$&'()*,;<>?\[\\\]^`{|}]|^[#~]|(?<=[:=])~", r"\\\g<0>", word) or "''"


def _places(request: Request, method: Listed, phase: Phase) -> Iterator[Place]:
    shots, targets = request.shots if method.learns else (0,), request.targets(phase)
    pairs = product(targets, shots) if request.is_curve else ((name, number) for number in shots for name in targets)
    return ((phase, *pair, seed) for pair in pairs for seed in request.seeds)


def _make_run(
    request: Request, configs: Configs, epoch_of: Callable[[str, tuple], str | None], method: Listed, place: Place
) -> Run:
    phase, dataset, shots, seed = place
    trained = phase.model or phase if method.learns else phase
    source = request.source if trained.on_source else dataset  # what the model is, or was, trained on
    cfg, file = configs.choose(method.name, trained.protocol, source, shots)

    def folder(phase: Phase, dataset: str) -> str:
        return f"{request.output}/{phase.folder}/{dataset}/shots_{shots}/{method.name}/{cfg}/seed{seed}"

    root = data_root(request, configs.checkout, dataset)
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
