"""One run by several ranks: the numbers of one rank, one voice, one end."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mocoop.registry import listed
from mocoop.results.csv_files import HISTORY, read_history, read_predictions
from mocoop.results.record import read_record
from mocoop.training.checkpoint import MODEL, NEWEST, last_checkpoint, load_checkpoint
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.runs import BY_STEPS, STEPS
from tests.faults.victims import training
from tests.ranks import run_ranks

ROOT = Path(__file__).parents[2]
METHODS = [name for name, method in listed().items() if method.learns]
QUICK = ["CoCoOp", "MaPLe"]
OWN = {
    "CLIPLoRA": ["TRAINER.CLIPLORA.DROPOUT", "0.0", "OPTIM.MAX_ITER", "50"],
    "DePT": ["OPTIM.LR", "0.001"],  # at its own rate its head jumps, and rounding grows a thousandfold with it
}
FIFTY_STEPS = ["OPTIM.MAX_EPOCH", "17"]  # of three batches each
slow = pytest.mark.slow


def ranks_of(run, count: int, **faults):
    """The run's command given to so many ranks."""
    return run_ranks(training(*run.argv()), count, run.out.with_name(run.out.name + "-ranks"), **faults)


def must_succeed(run, count: int):
    endings = ranks_of(run, count)
    assert [ending.status for ending in endings] == [0] * count, [ending.err for ending in endings]
    assert not [ending.out for ending in endings[1:] if ending.out], "only the main rank prints"
    return endings


def must_be_alike(run: Path, reference: Path) -> None:
    """Losses, weights, predictions and results are those of one rank, but for the order of fp32's sums."""
    if (reference / HISTORY).is_file():  # else the method takes no steps
        history, expected = (read_history(out / HISTORY) for out in (run, reference))
        losses = [name for name in history.columns if name.startswith("loss")]
        assert len(history) == len(expected)
        assert (history[losses] - expected[losses]).abs().max().max() < 1e-5 * max(1.0, expected["loss"].max())
        assert history["lr"].equals(expected["lr"]) and history["acc"].equals(expected["acc"])
    weights, others = (load_checkpoint(last_checkpoint(out / MODEL))["state_dict"] for out in (run, reference))
    assert weights.keys() == others.keys()
    for name, value in others.items():  # LP++'s factors of text are near 100: there 1e-5 is a unit of the last place
        if value.numel():
            assert (weights[name] - value).abs().max() < 1e-5 * max(1.0, float(value.abs().max())), name
    found, expected = (read_predictions(out / "predictions.csv") for out in (run, reference))
    assert found["path"].equals(expected["path"]) and found["prediction"].equals(expected["prediction"])
    assert (found["confidence"] - expected["confidence"]).abs().max() < 1e-4
    found, expected = (read_record(out / "result.json") for out in (run, reference))
    for key in ("metrics", "zero_shot", "num_test"):
        assert found[key] == pytest.approx(expected[key], abs=1e-3), key
    assert found["manifest_sha256"] == expected["manifest_sha256"]


@pytest.mark.parametrize("method", QUICK)
def test_two_ranks_make_the_run_of_one(runs, method):
    run = runs.new(method)
    must_succeed(run, 2)
    must_be_alike(run.out, runs.reference(method))
    assert read_record(run.out / "result.json")["ranks"] == 2
    assert sorted(os.listdir(run.out)) == sorted(set(os.listdir(runs.reference(method))) - {"out.txt", "err.txt"})


@slow
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_after_fifty_steps_ranks_are_where_one_is(runs, method, count):
    opts = [*FIFTY_STEPS, *OWN.get(method, [])]
    one, several = runs.new(method, *opts), runs.new(method, *opts)
    assert one.start().status == 0
    must_succeed(several, count)
    must_be_alike(several.out, one.out)


def test_batches_of_one_image_share_out_the_prompts(runs):
    opts = ["DATALOADER.TRAIN_X.BATCH_SIZE", "1", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1"]
    one, three = (runs.new("MoCoOp", *opts) for _ in range(2))
    assert one.start().status == 0
    must_succeed(three, 3)
    must_be_alike(three.out, one.out)


def killed(run, count: int, number: int, moment: int) -> None:
    """One of the ranks is killed; the others end within seconds, and say so in one line."""
    endings = ranks_of(run, count, faults={number: [training_steps(Moments(kill, at=moment))]})
    assert [ending.status for ending in endings] == [-signal.SIGKILL if n == number else 2 for n in range(count)]
    lines = [line for ending in endings for line in ending.err.splitlines()]
    assert len(lines) == 1 and "another rank of this run has ended" in lines[0], lines


DEATHS = [(f"{method} {seed}", method) for method in ("CoOp", "MoCoOp") for seed in range(4)]


@pytest.mark.parametrize(
    "seed, method", [pytest.param(*death, marks=[] if death[0] == "MoCoOp 0" else slow) for death in DEATHS]
)
def test_a_rank_is_killed_and_others_go_on(runs, seed, method):
    """The numbers of ranks before and after have nothing to do with each other."""
    draw, run = random.Random(seed), runs.new(method, *BY_STEPS)
    count, after = draw.choice([(2, 1), (2, 3), (3, 2)])
    killed(run, count, draw.randrange(count), draw.randint(7, 3 * STEPS))
    assert (run.out / MODEL / NEWEST).is_file() or (run.out / MODEL).is_dir()
    endings = must_succeed(run, after)
    assert "will resume training after epoch" in endings[0].out
    must_be_alike(run.out, runs.reference(method))


@pytest.mark.parametrize("asked", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=slow)])
def test_a_signal_to_one_rank_stops_all_with_one_state(runs, asked):
    run = runs.new("CoOp")
    stop = training_steps(Moments(lambda detail: os.kill(os.getpid(), asked), at=14))
    endings = ranks_of(run, 2, faults={1: [stop]})
    assert [ending.status for ending in endings] == [128 + asked] * 2
    said = [line for ending in endings for line in ending.err.splitlines()]
    assert said == [f"stopped by {asked.name}; run the same command to resume"]
    assert read_record(run.out / "result.json")["status"] == "failed" and (run.out / MODEL / NEWEST).is_file()
    assert "after epoch 1, batch 2)" in must_succeed(run, 2)[0].out
    must_be_alike(run.out, runs.reference("CoOp"))


def test_what_is_wrong_is_said_once(runs, tmp_path):
    """By all ranks, by one that cannot read its image, and by the main one whose folder is in use."""
    unknown = runs.new("CoOp", "OPTIM.LERNING_RATE", "1")
    endings = ranks_of(unknown, 2)
    assert [ending.status for ending in endings] == [2, 2]
    assert len([line for ending in endings for line in ending.err.splitlines()]) == 1

    run = runs.new("CoOp")
    data = tmp_path / "data"
    shutil.copytree(runs.data, data)
    argv = [str(data) if word == str(runs.data) else word for word in run.argv()]
    last = read_predictions(runs.reference("CoOp") / "predictions.csv")["path"].iloc[-1]
    damaged = data / last
    damaged.write_bytes(b"no image")
    endings = run_ranks(training(*argv), 2, tmp_path / "ranks")
    assert [ending.status for ending in endings] == [2, 2]
    (line,) = [line for ending in endings for line in ending.err.splitlines()]
    assert line.startswith("error: cannot read image") and damaged.name in line
    record = json.loads((run.out / "result.json").read_text())
    assert record["status"] == "failed" and damaged.name in record["error"]

    seedless = runs.new("CoOp", "SEED", "-1")
    (line,) = [line for ending in ranks_of(seedless, 2) for line in ending.err.splitlines()]
    assert re.fullmatch(r"error: SEED is -1, expected 0 or more for 2 ranks: give them a --seed", line)


def test_a_finished_run_is_not_made_again(runs):
    run = runs.new("ZeroshotCLIP")
    must_succeed(run, 2)
    assert "finished already" in must_succeed(run, 2)[0].out


def test_features_on_disk_are_written_once_and_read_by_all(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))

    def times():
        """When each file of features was written."""
        files = [path for kind in ("text", "images") for path in (tmp_path / "cache").glob(f"{kind}/*")]
        return {path: path.stat().st_mtime_ns for path in files}

    first, second = (runs.new("KgCoOp", "TEST.FEATURE_CACHE", "True", "OPTIM.MAX_EPOCH", "1") for _ in range(2))
    must_succeed(first, 2)
    kept = times()
    assert {path.parent.name for path in kept} == {"text", "images"}
    assert "24 of 24 from the cache" in must_succeed(second, 2)[0].out
    assert kept == times()
    must_be_alike(second.out, first.out)


def test_under_torchrun(runs):
    """The command that is documented; all else here forks its ranks, which takes less time."""
    run = runs.new("CoOp")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "train.py", *run.argv()]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("=> result") == 1
    must_be_alike(run.out, runs.reference("CoOp"))
