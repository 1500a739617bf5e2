import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.scripts.checkout import REPOSITORY, Checkout

TRAIN = '''
"""Stands in for train.py: writes the result the command line asks for, and nothing else."""
import sys
from pathlib import Path
from tests.results.runs import add_run

FAILING = "shapes_color/shots_16/CoOp/tiny/seed2"
ROUTING = {"groups": ["photo", "dark"], "top_k": 1, "domain_in_top_k": 90.0, "chosen": [50.0, 50.0],
           "chosen_by_domain": {"photo": [90.0, 10.0], "dark": [10.0, 90.0]}}


def load():


    pass




def main(argv):
    folder = Path(argv[argv.index("--output-dir") + 1])
    print("noise", folder)
    if Path(folder, "result.json").exists():
        return 0
    if FAILING in str(folder) and not Path("mended").exists():
        print("error: the disk is full", file=sys.stderr)
        return 2
    phase, dataset, shots, method, cfg, seed = folder.parts[-6:]
    routing = ROUTING if method == "MoCoOp" and cfg != "tiny_one_expert" else None
    add_run(folder.parents[6], 80.0 if phase == "train_base" else 70.0, phase=phase, dataset=dataset, method=method,
            shots=int(shots[6:]), cfg=cfg, seed=int(seed[4:]), routing=routing)
    return 0
'''


WAITING = """
import time
from pathlib import Path

def load():

    pass



def main(argv):
    Path("started").touch()
    time.sleep(100)
"""


def make_checkout(root, train: str) -> Checkout:
    checkout = Checkout(root)
    checkout.write("train.py", train)
    for dataset in ("shapes_color", "shapes_shape"):
        checkout.write(f"configs/datasets/{dataset}.yaml", "")
    for name in ("CoCoOp/tiny", "MoCoOp/tiny_one_expert", "MoCoOp/tiny_random_router", "MoCoOp/tiny_dense"):
        checkout.write(f"configs/trainers/{name}.yaml", "OPTIM:\n  MAX_EPOCH: 2\n")
    checkout.write(".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n').chmod(0o755)
    checkout.write("pyproject.toml", "")
    checkout.write(".venv/installed-from", "4294967295 0")
    return checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which the demo has run once; one of its runs failed."""
    checkout = make_checkout(tmp_path_factory.mktemp("demo"), TRAIN)
    checkout.first = run_demo(checkout)
    return checkout


def run_demo(checkout):
    return checkout.bash("demo.sh", PYTHONPATH=REPOSITORY, PYTHON="")


def test_a_failing_run_is_named_at_the_end_and_the_others_go_on(checkout):
    assert checkout.first.returncode == 1
    failed, not_run = checkout.first.stderr.splitlines()[-2:]
    run = "shapes_color/shots_16/CoOp/tiny/seed2"
    log = checkout.root / "output/base2new/train_base" / run / "console.txt"
    assert failed == f"failed: base2new/train_base/{run}: the disk is full; log: {log}"
    assert not_run == f"not run: base2new/test_new/{run}: its model was not trained"
    assert log.read_text().endswith("error: the disk is full\n")
    assert "noise" not in checkout.first.stdout + checkout.first.stderr
    assert len(list((checkout.root / "output").rglob("result.json"))) == (4 * 3 * 3 + 3 * 3) * 2 - 2


def test_the_failed_run_is_a_gap_in_the_table(checkout):
    assert re.search(r"\| shapes_color \| CoOp +\| +– \| +– \| +– \|", checkout.first.stdout)
    assert "shapes_color, CoOp: no base result for seed 2" in checkout.first.stdout


def test_tables_runs_and_figures_are_written(checkout):
    folder = checkout.root / "output" / "demo"
    names = {path.name for path in folder.iterdir()}
    figures = {"base_new.png", "base_against_new.png", "ablations.png", "routing.png"}
    assert names == {"table.md", "results.csv", "report.html"} | figures
    text = (folder / "table.md").read_text()
    assert text in checkout.first.stdout
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### Base to new classes",
        "### Routing",
        "### Ablations",
    ]
    assert re.search(r"random router +\|.*\*\*74.67 ± 0.00\*\*", text)
    with open(folder / "results.csv") as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"1", "2", "3"}


def test_a_second_run_does_only_what_is_left(checkout):
    (checkout.root / "mended").touch()
    untouched = checkout.root / "output/base2new/test_new/shapes_both/shots_16/CoCoOp/tiny/seed1/result.json"
    before = json.loads(untouched.read_text()), untouched.stat().st_mtime_ns
    done = run_demo(checkout)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr and "2/2" in done.stderr and "–" not in done.stdout
    assert (json.loads(untouched.read_text()), untouched.stat().st_mtime_ns) == before


def test_ctrl_c_ends_the_runs_at_once(tmp_path):
    checkout = make_checkout(tmp_path, WAITING)
    process = checkout.start("demo.sh", PYTHONPATH=REPOSITORY, PYTHON="")
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; run the same command to resume" and "Traceback" not in err


@pytest.mark.parametrize("name", ["demo", "groups_by_hand_or_not", "when_routing_pays"])
def test_a_study_explains_itself_before_it_starts(name):
    command = [sys.executable, "-m", f"scripts.{name}", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 0 and ran.stdout.startswith("usage: ")
