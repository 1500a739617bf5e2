"""The demo and the other studies of scripts/, with a stand-in for train.py; Ctrl-C meets the script itself."""

import csv
import json
import os
import re
import runpy
import signal
import sys

import pytest

import mocoop.report
from mocoop.protocols import execute
from scripts import demo
from tests.faults import victims
from tests.protocols.checkout import make_checkout, wait_for
from tests.protocols.conftest import SETTINGS
from tests.protocols.forks import ForkedWorker
from tests.results.runs import make_routing
from tests.scripts.checkout import REPOSITORY, Checkout

ROUTED = make_routing(["photo", "dark"], 1, 90.0) | {"chosen": [50.0, 50.0]}
ROUTED |= {"chosen_by_domain": {"photo": [90.0, 10.0], "dark": [10.0, 90.0]}}
ACT = f"""
    if "shapes_color/shots_16/CoOp/tiny/seed2" in str(folder) and not Path("mended").exists():
        print("error: the disk is full", file=sys.stderr)
        return 2
    if run["method"] == "MoCoOp" and run["cfg"] != "tiny_one_expert":
        run["routing"] = {ROUTED}
"""


def make_demo(root, act: str) -> Checkout:
    checkout = make_checkout(root, act)
    for dataset in ("shapes_color", "shapes_shape"):
        checkout.write(f"configs/datasets/{dataset}.yaml", "")
    for name in ("CoCoOp/tiny", "MoCoOp/tiny_one_expert", "MoCoOp/tiny_random_router", "MoCoOp/tiny_dense"):
        checkout.write(f"configs/trainers/{name}.yaml", "OPTIM:\n  MAX_EPOCH: 2\n")
    checkout.write(".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n').chmod(0o755)
    checkout.write("pyproject.toml", "")
    checkout.write(".venv/installed-from", "4294967295 0")
    return checkout


def run_demo(checkout, draws=True) -> victims.Ending:
    """Two seeds of it, in a fork of this process whose workers are forks of that."""

    def prepare():
        for name in SETTINGS:
            os.environ.pop(name, None)
        os.chdir(checkout.root)
        demo.CHECKOUT, demo.OUTPUT, demo.SEEDS = checkout.root, checkout.root / "output", (1, 2)
        execute.Worker, sys.argv = ForkedWorker, ["demo"]
        if not draws:
            demo.write_figures = mocoop.report.write_report = lambda *args, **options: None

    return victims.run(demo.main, checkout.root / "printed", prepare)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which the demo has run once; one of its runs failed."""
    checkout = make_demo(tmp_path_factory.mktemp("demo"), ACT)
    checkout.first = run_demo(checkout)
    return checkout


def test_a_failing_run_is_named_at_the_end_and_the_others_go_on(checkout):
    assert checkout.first.status == 1
    failed, not_run = checkout.first.err.splitlines()[-2:]
    run = "shapes_color/shots_16/CoOp/tiny/seed2"
    log = checkout.root / "output/base2new/train_base" / run / "console.txt"
    assert failed == f"failed: base2new/train_base/{run}: the disk is full; log: {log}"
    assert not_run == f"not run: base2new/test_new/{run}: its model was not trained"
    assert log.read_text().endswith("error: the disk is full\n")
    assert "noise" not in checkout.first.out + checkout.first.err
    assert len(list((checkout.root / "output").rglob("result.json"))) == (4 * 3 * 2 + 3 * 2) * 2 - 2


def test_the_failed_run_is_a_gap_in_the_table(checkout):
    assert re.search(r"\| shapes_color \| CoOp +\| +– \| +– \| +– \|", checkout.first.out)
    assert "shapes_color, CoOp: no base result for seed 2" in checkout.first.out


def test_tables_runs_and_figures_are_written(checkout):
    folder = checkout.root / "output" / "demo"
    names = {path.name for path in folder.iterdir()}
    figures = {"base_new.png", "base_against_new.png", "ablations.png", "routing.png"}
    assert names == {"table.md", "results.csv", "report.html"} | figures
    text = (folder / "table.md").read_text()
    assert text in checkout.first.out
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == ["### Base to new classes", "### Routing", "### Ablations"]
    assert re.search(r"random router +\|.*\*\*74.67 ± 0.00\*\*", text)
    with open(folder / "results.csv") as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"1", "2"}


def test_a_second_run_does_only_what_is_left(checkout):
    (checkout.root / "mended").touch()
    untouched = checkout.root / "output/base2new/test_new/shapes_both/shots_16/CoCoOp/tiny/seed1/result.json"
    before = json.loads(untouched.read_text()), untouched.stat().st_mtime_ns
    done = run_demo(checkout, draws=False)
    assert done.status == 0, done.err
    assert "100%" in done.err and "2/2" in done.err and "–" not in done.out
    assert (json.loads(untouched.read_text()), untouched.stat().st_mtime_ns) == before


def test_ctrl_c_ends_the_runs_at_once(tmp_path):
    checkout = make_demo(tmp_path, "    Path('started').touch()\n    time.sleep(100)")
    process = checkout.start("demo.sh", PYTHONPATH=REPOSITORY, PYTHON="")
    wait_for((tmp_path / "started").exists)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; run the same command to resume" and "Traceback" not in err


@pytest.mark.parametrize("name", ["demo", "groups_by_hand_or_not", "when_routing_pays"])
def test_a_study_explains_itself_before_it_starts(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_module(f"scripts.{name}", run_name="__main__")
    assert capsys.readouterr().out.startswith("usage: ")
