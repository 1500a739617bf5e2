"""The scripts of scripts/: the runs of a protocol, or of a part of it, of one method, one after the other.

scripts/common.sh starts it in the checkout as `python -m mocoop.protocols.script SCRIPT START USAGE METHOD
[ARGUMENT...]`: the script as it was called, whose name says what to run, the folder it was called in, how it is to be
called, and what it was given.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from mocoop.console import kept_console
from mocoop.errors import ConfigError, MocoopError
from mocoop.protocols.plan import Request, Run, check_data, completed, dry_run, list_runs, whole_numbers


def main(script: str, start: str, usage: str, *arguments: str) -> int:
    """Runs what is not finished, or prints it if DRY_RUN is set; the status of the first run that fails."""
    with kept_console():
        return _run_or_print(script, start, usage, arguments)


def _run_or_print(script: str, start: str, usage: str, arguments: tuple[str, ...]) -> int:
    checkout, dry, python = Path.cwd(), dry_run(), os.environ["PYTHON"]
    try:
        request = completed(read_request(Path(script).stem, usage, arguments), checkout, start)
        runs = list_runs(request, checkout)
        if dry != "1":
            check_data(request, checkout, f"bash {script}")
        for run in runs:
            if dry != "plan" and run.finished(checkout):
                print(f"finished already: {run.folder}", flush=True)
            elif dry:
                print(run.command(python))
            elif status := execute(run, checkout, python, Path(script).parent):
                return status
    except MocoopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_request(name: str, usage: str, arguments: tuple[str, ...]) -> Request:
    """What METHOD [DATASET] [NUMBER...] ask of a script. Raises ConfigError."""
    request = Request(name)
    kinds = ["method"] if all(phase.on_source for phase in request.phases) else ["method", "data set"]
    for kind, word in zip_longest(kinds, arguments[: len(kinds)]):
        if not word or word.startswith("-"):
            raise ConfigError(f"no {kind} named; usage: {usage}")
    method, *dataset = arguments[: len(kinds)]
    numbers = whole_numbers("SHOTS" if request.is_curve else "SEED", arguments[len(kinds) :])
    asked = replace(request, methods=(method,), datasets=tuple(dataset))
    return replace(asked, shots=numbers) if request.is_curve else replace(asked, seeds=numbers)


def execute(run: Run, checkout: Path, python: str, scripts: Path) -> int:
    """Runs train.py; its status, as a shell gives it. Raises ConfigError if the model that it tests is not there."""
    if run.model and not (checkout / run.model).is_dir():
        protocol = Path(run.model).parts[-7]
        raise ConfigError(f"no trained model in {run.model}; run {scripts}/{protocol}_train.sh first")
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the run, which saves its state and ends
    status = subprocess.Popen([python, "train.py", *run.argv]).wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
