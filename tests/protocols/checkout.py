"""A checkout whose train.py is a stand-in that writes a result, or does what a test wants of it."""

import time
from pathlib import Path

from tests.results.runs import add_run
from tests.scripts.checkout import Checkout

TRAIN = '''
"""Stands in for train.py: writes the result that the command line asks for."""
import os, signal, subprocess, sys, time
from pathlib import Path
from tests.results.runs import add_run

PARTS = ("protocol", "phase", "dataset", "shots", "method", "cfg", "seed")


def load():
    pass


def main(argv):
    folder = Path(argv[argv.index("--output-dir") + 1])
    run = dict(zip(PARTS, folder.parts[-7:]))
    if Path(folder, "result.json").exists():
        if Path("other_settings").exists():
            print(f"error: {folder} holds a run of other settings", file=sys.stderr)
            return 2
        return 0
    with open("order.txt", "a") as file:
        print(*folder.parts[-7:], sep="/", file=file)
    print("noise of", folder)
    status = act(run, folder)
    if status:
        return status
    run |= {"shots": int(run["shots"][6:]), "seed": int(run["seed"][4:])}
    add_run(folder.parents[6], 80.0 if "train" in run["phase"] else 70.0, **run)
    return 0


def act(run, folder):
'''


def make_checkout(root: Path, act: str = "    return 0") -> Checkout:
    """`act`: the body of a function of `run`, a dict of the parts of the run's name, and `folder`."""
    checkout = Checkout(root)
    for package in ("trainers", "datasets"):
        checkout.write(f"{package}/__init__.py", "")
    checkout.write("train.py", TRAIN + act + "\n")
    return checkout


def order(checkout: Checkout) -> list[str]:
    """The runs that were started, in their order."""
    path = checkout.root / "order.txt"
    return path.read_text().splitlines() if path.exists() else []


def finish(output: Path, run) -> Path:
    """The record of a run of a plan; its folder."""
    protocol, phase, dataset, shots, method, cfg, seed = Path(run.folder).parts[-7:]
    identity = {"method": method, "seed": int(seed[4:]), "shots": int(shots[6:])}
    return add_run(output, 80.0, protocol=protocol, phase=phase, dataset=dataset, cfg=cfg, **identity)


def wait_for(condition, seconds: float = 60):
    """What `condition()` gives once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)
    return value


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
