"""Hundreds of short runs: nothing leaks, and the table of all runs is complete."""

import gc
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import train
from mocoop.results.runs import collect
from tests.faults import victims
from tests.faults.runs import WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SOAKED = ("CoOp", "CoCoOp", "MoCoOp")
RUNS, WARM = 200, 60  # the first ones fill caches and pools
KILOBYTES_PER_RUN = 60  # a kept trainer would be several thousand
FEWEST = ["DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1"]


def place(tree: Path, method: str, seed: int) -> Path:
    return tree / f"base2new/train_base/shapes_both/shots_1/{method}/tiny/seed{seed}"


def argv(runs, tree: Path, method: str, seed: int, *more: str) -> list[str]:
    run = runs.new(method, *FEWEST, "SEED", seed, *more)
    run.out = place(tree, method, seed)
    return run.argv()


def in_use() -> dict[str, int]:
    """What this process holds: kilobytes, open files, threads, child processes."""
    gc.collect()
    memory = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "kilobytes": int(memory["Anonymous:"]),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(children),
    }


def many_runs(commands: list[list[str]], log: Path):
    """One after another in one process; after each, one line of what is in use. Every tenth is given twice."""

    def work() -> int:
        with open(log, "w", encoding="utf-8") as file:
            for number, command in enumerate(commands):
                assert train.main(command) == 0
                if number % 10 == 0:
                    assert train.main(command) == 0  # finished already
                    assert train.main([*command, "OPTIM.LR", "1"]) == 2  # refused
                print(json.dumps(in_use()), file=file, flush=True)
        return 0

    return work


def test_many_runs_in_one_process(runs, tmp_path, monkeypatch, ledger):
    monkeypatch.setattr(victims, "TIMEOUT", 3000.0)
    tree, log = tmp_path / "output", tmp_path / "in_use.jsonl"
    commands = [
        argv(runs, tree, SOAKED[number % 3], number // 3, *(WORKERS if number % 20 == 7 else []))
        for number in range(RUNS)
    ]
    ending = victims.run(many_runs(commands, log), tmp_path)
    assert ending.status == 0, ending.err[-2000:]
    found = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(found) == RUNS
    warm = found[WARM:]
    for what in ("files", "threads", "children"):
        assert {one[what] for one in warm} == {warm[0][what]}, what
    slope = np.polyfit(np.arange(len(warm)), [one["kilobytes"] for one in warm], 1)[0]
    ledger.notes.append(f"{RUNS} runs in one process: {slope:+.1f} kB a run, {warm[0]} to {warm[-1]}")
    assert slope < KILOBYTES_PER_RUN
    table = collect(tree)
    assert table.problems == [] and len(table.frame) == RUNS
    assert set(table.frame["method"]) == set(SOAKED)


def test_runs_across_processes(runs, tmp_path):
    """Four at a time, in one tree; two of them always want the same folder."""
    tree = tmp_path / "output"
    for first in range(0, 24, 3):
        seeds = [first, first + 1, first + 2, first + 2]
        started = []
        for number, seed in enumerate(seeds):
            printed = tmp_path / f"{first}-{number}"
            started.append((victims.start(victims.training(*argv(runs, tree, "CoOp", seed)), printed), printed))
        endings = [victims.end(*one) for one in started]
        assert [ending.status for ending in endings[:2]] == [0, 0]
        contested = sorted(ending.status for ending in endings[2:])
        assert contested in ([0, 0], [0, 2])  # one after the other, or refused
        assert all(ending.status == 0 or "is in use by process" in ending.refusal for ending in endings)
    table = collect(tree)
    assert table.problems == [] and len(table.frame) == 24
