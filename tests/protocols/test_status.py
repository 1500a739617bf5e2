import json
import os
import socket

import pytest

from mocoop import cli
from mocoop.protocols.plan import Run
from mocoop.protocols.status import add_to_queue, append_jobs, open_queue, states
from mocoop.results.record import unfinished_record, write_record
from mocoop.training.folder_lock import LOCK
from tests.results.runs import add_run, make_config

NAME = "base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed{}"
LINES = """
epoch [1/6] batch [5/10] time 0.051 (0.052) data 0.001 (0.002) loss 2.3456 (2.5) acc 9.0 (9.0) lr 1.0e-05 eta 0:00:09
epoch [3/6] batch [5/10] time 0.051 (0.052) loss_ce 0.2 (0.3) loss 1.2345 (1.5) lr 2.0e-03 eta 0:00:04
"""


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


def state(output, seed=1, jobs=None) -> tuple[str, str]:
    (found,) = (state for state in states(output, jobs or {}) if state.name == NAME.format(seed))
    return found.status, found.detail


def make(output, seed=1, status=None, error=None, **files) -> None:
    folder = output / NAME.format(seed)
    folder.mkdir(parents=True)
    if status:
        write_record(folder / "result.json", unfinished_record(make_config(), status, error))
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)


def hold(output, seed=1) -> None:
    lock = {"host": socket.gethostname(), "pid": os.getpid()}
    (output / NAME.format(seed) / LOCK).write_text(json.dumps(lock))


def ask(output, job="", seed=1) -> None:
    with open_queue(output) as file:
        append_jobs(file, {NAME.format(seed): job})


def test_a_finished_run_is_known_by_its_record_alone_and_else_it_is_queued(output):
    ask(output)
    assert state(output) == ("queued", "")
    make(output)
    assert state(output)[0] == "queued"
    add_run(output, 80.0, phase="train_base", seed=1)
    assert state(output) == ("done", "")


def test_a_run_that_goes_on_says_how_far_it_is(output):
    make(output, status="running", log=LINES)
    hold(output)
    assert state(output) == ("running", "epoch 3/6, loss 1.2345, 0:00:04 left")
    (output / NAME.format(1) / "log.txt").write_text(LINES + "Evaluate on the *test* set\n")
    assert state(output) == ("running", "testing")


def test_a_run_whose_process_is_gone_is_interrupted_and_a_failed_one_says_why(output):
    make(output, status="running", log=LINES, console="noise")
    assert state(output) == ("interrupted", "epoch 3/6, loss 1.2345, 0:00:04 left")
    make(output, 2, "failed", "Stopped: stopped by SIGTERM; the same command goes on from here")
    assert state(output, 2)[0] == "interrupted"
    make(output, 3, "failed", "the loss is not finite")
    assert state(output, 3) == ("failed", "the loss is not finite")
    make(output, 4, console="noise\nerror: no such dataset\n")  # it had no record yet
    assert state(output, 4) == ("failed", "no such dataset")


def test_slurm_says_what_waits_and_what_is_lost(output):
    ask(output, "7_1")
    assert state(output, jobs={"7_1": ("PENDING", "Resources")}) == ("queued", "job 7_1, PENDING: Resources")
    assert state(output, jobs={"7_1": ("RUNNING", "")}) == ("running", "job 7_1, RUNNING")
    assert state(output) == ("failed", "SLURM's job 7_1 is gone and left no result")
    ask(output, "8_0")  # submitted again
    assert state(output, jobs={"8_0": ("PENDING", "")})[0] == "queued"


def test_the_runs_of_a_job_have_each_their_state(output):
    for seed in (1, 2, 3, 4):
        ask(output, "7_1", seed)
    add_run(output, 80.0, phase="train_base", seed=1)
    make(output, 2, "failed", "the loss is not finite")
    make(output, 3, "running")
    hold(output, 3)
    now = {"7_1": ("RUNNING", "")}
    assert [state(output, seed, now)[0] for seed in (1, 2, 3, 4)] == ["done", "failed", "running", "queued"]
    assert state(output, 4, now) == ("queued", "job 7_1, RUNNING")


def test_the_tool_shows_what_matters_and_counts_the_rest(output, capsys):
    add_run(output, 80.0, phase="train_base", seed=1)
    make(output, 2, "failed", "the loss is not finite")
    ask(output, seed=3)
    shown = f"failed       {NAME.format(2)}  the loss is not finite\n3 runs: 1 done, 1 queued, 1 failed\n"
    assert said(capsys, output)[:2] == [0, shown]
    assert len(said(capsys, output, "--all")[1].splitlines()) == 4
    assert said(capsys, output / "none")[0] == 2


def said(capsys, *words) -> list[str]:
    status = cli.main(["status", *map(str, words)])
    return [status, *capsys.readouterr()]


def test_part_of_a_tree_may_be_asked_for(output, capsys, monkeypatch):
    add_run(output, 80.0, phase="train_base", seed=1)
    make(output, 2, "failed", "the loss is not finite")
    make(output, 4, status="running")
    ask(output, seed=3)
    add_run(output, 80.0, phase="test_new", seed=1)
    line = f"failed       {NAME.format(2)}  the loss is not finite\n"
    interrupted = f"interrupted  {NAME.format(4)}\n"
    assert said(capsys, output)[1].endswith("5 runs: 2 done, 1 queued, 1 interrupted, 1 failed\n")
    four = f"{line}{interrupted}4 runs: 1 done, 1 queued, 1 interrupted, 1 failed\n"
    for part in ("base2new/train_base", "base2new/train_base/shapes_both/shots_16/CoOp/tiny"):
        assert said(capsys, output / part)[:2] == [0, four]
    assert said(capsys, output / NAME.format(2))[:2] == [0, f"{line}1 runs: 1 failed\n"]
    assert said(capsys, output / "base2new/test_new")[:2] == [0, "1 runs: 1 done\n"]
    monkeypatch.chdir(output / "base2new/train_base")
    assert said(capsys, ".")[:2] == [0, four]


def test_a_folder_without_runs_is_one_line(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    line = f"error: {tmp_path}: no runs, expected a folder of results or a part of it\n"
    assert said(capsys, tmp_path) == [2, "", line]


def test_files_that_are_spoiled_end_nothing_and_runs_are_noted_once(output, tmp_path, capsys):
    make(output, status="running", log=LINES)
    (output / NAME.format(1) / "log.txt-2026").mkdir()
    runs = [Run(f"output/{NAME.format(seed)}", seed, ()) for seed in (1, 2)]
    add_to_queue(runs[:1], tmp_path)
    add_to_queue(runs, tmp_path)
    assert (output / "queue.tsv").read_text() == "".join(f"{run.name}\t\n" for run in runs)
    with open(output / "queue.tsv", "ab") as file:
        file.write(b"caf\xe9\nbase2new/train_base\t7\nno newline")
    assert state(output) == ("interrupted", "epoch 3/6, loss 1.2345, 0:00:04 left")
    assert said(capsys, output)[1].endswith("\n2 runs: 1 queued, 1 interrupted\n")
