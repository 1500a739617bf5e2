import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mocoop import cli
from mocoop.protocols.execute import visible_gpus
from mocoop.tools import run as run_tool
from mocoop.training.learner import Learner
from tests.faults import victims
from tests.protocols.checkout import is_alive, make_checkout, order, wait_for
from tests.protocols.conftest import environment, forked  # noqa: F401 (fixtures for every test here)
from tests.results.runs import add_run
from tests.scripts.checkout import REPOSITORY

pytestmark = pytest.mark.usefixtures("forked")
FAILING = "    if run['method'] == 'CoOp' and run['seed'] == 'seed2': raise RuntimeError('nan in loss')"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    checkout = make_checkout(tmp_path / "checkout", FAILING)
    monkeypatch.chdir(checkout.root)
    return checkout


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made and not drawn, and there is no report."""
    monkeypatch.setattr("mocoop.protocols.products.save_figure", lambda figure, path: None)
    monkeypatch.setattr("mocoop.report.write_report", lambda *args, **options: None)


def run(*words) -> int:
    return cli.main(["run", *map(str, words)])


BASE2NEW = ("base2new", "--methods", "ZeroshotCLIP,CoOp", "--datasets", "shapes_both", "--seeds", "1,2")


def test_a_dry_run_prints_the_commands_of_the_scripts_and_runs_nothing(checkout, capsys):
    assert run("base2new", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "3", "--dry-run") == 0
    trained, tested = capsys.readouterr().out.splitlines()
    (line,) = checkout.lines("coop/base2new_train.sh", "shapes_both", 3)
    assert shlex.split(trained) == [sys.executable, *shlex.split(line)]
    assert "--eval-only --model-dir" in tested and not order(checkout) and not (checkout.root / "output").exists()


def test_what_follows_two_dashes_is_for_train_py(checkout, capsys):
    run("few_shot", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "1", "--dry-run", "--", "A.B", "c d")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(shlex.split(line)[-2:] == ["A.B", "c d"] for line in lines)


def test_a_protocol_ends_in_tables_figures_and_a_report(checkout, capsys):
    assert run(*BASE2NEW[:-1], "1", "--jobs", 2) == 0
    folder, out = checkout.root / "output/base2new", capsys.readouterr()
    assert (folder / "tables.md").read_text() == out.out
    assert re.search(r"CoOp +\|[* ]+80.00[* ]+\|[* ]+70.00[* ]+\|[* ]+74.67", out.out)
    assert len((folder / "results.csv").read_text().splitlines()) == 5
    assert {"base_new.png", "base_against_new.png", "report.html"} <= {path.name for path in folder.iterdir()}
    assert " 4/4 " in out.err


def test_a_failing_run_is_named_at_the_end_and_is_a_gap(checkout, undrawn, capsys, caplog):
    assert run(*BASE2NEW) == 1
    name = "base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed2"
    log = checkout.root / "output" / name / "console.txt"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        f"failed: {name}: RuntimeError: nan in loss; log: {log}",
        f"not run: {name.replace('train_base', 'test_new')}: its model was not trained",
    ]
    assert "shapes_both, CoOp: no base result for seed 2" in capsys.readouterr().out
    assert cli.main(["status", "output"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "8 runs: 6 done, 1 queued, 1 failed"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "tables.md"), ValueError("of a figure")])
def test_where_nothing_can_be_written_the_failed_runs_are_named_all_the_same(checkout, caplog, monkeypatch, error):
    assert run("base2new", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "2") == 1
    assert caplog.records[-1].message.startswith("failed: tables: no run has finished")
    caplog.clear()

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("mocoop.protocols.products.write_file", full)
    if isinstance(error, OSError):
        assert run(*BASE2NEW) == 1
    else:
        with pytest.raises(ValueError, match="of a figure"):
            run(*BASE2NEW)
    said = [record.message.partition(": ")[::2] for record in caplog.records if record.levelname == "ERROR"]
    assert [kind for kind, _ in said] == ["failed", "not run", "failed"][: 3 if isinstance(error, OSError) else 2]
    assert said[0][1].startswith("base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed2: RuntimeError: nan in loss")
    assert "tables: disk full: tables.md could not be written" in said[-1][1] or isinstance(error, ValueError)


def test_a_reader_that_stops_early_costs_no_run_and_no_report(checkout):
    words = shlex.join([sys.executable, "-m", "mocoop.cli", "run", *BASE2NEW[:-1], "1"])
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words} 2>&1 | head -n 1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
    assert len(order(checkout)) == 4 and (checkout.root / "output/base2new/report.html").is_file()


def test_gpus_that_are_not_there_are_refused(checkout, undrawn, capsys, monkeypatch):
    monkeypatch.setattr(run_tool, "visible_gpus", lambda names: dict.fromkeys(names[:2], 1e5))
    assert run(*BASE2NEW, "--gpus", "0,1,7") == 2
    assert capsys.readouterr().err == "error: got --gpus 7, which this machine does not have\n" and not order(checkout)
    assert run(*BASE2NEW[:-1], "1", "--gpus", "0,1") == 0


def test_gpus_are_counted_as_torch_sees_them(monkeypatch):
    def in_this_process(command, env, **options):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(command[-1], {})
        return SimpleNamespace(stdout=printed.getvalue())

    if not torch.cuda.is_available():  # where there is one another process has to look
        monkeypatch.setattr("mocoop.protocols.execute.subprocess", SimpleNamespace(run=in_this_process, PIPE=None))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    names = [str(number) for number in range(torch.cuda.device_count())]
    assert list(visible_gpus(names)) == names and all(size > 1000 for size in visible_gpus(names).values())
    assert visible_gpus(["GPU-none"]) == {}


def test_few_shot_and_transfer_have_their_tables(checkout, undrawn, capsys):
    assert run("few_shot", "--datasets", "shapes_both", "--methods", "CoOp", "--seeds", "1", "--shots", "1,4") == 0
    assert re.search(r"CoOp +\| +80.00 \| +80.00", capsys.readouterr().out)
    transfer = ("--datasets", "caltech101", "--methods", "CoOp", "--seeds", "1", "--source", "shapes_both")
    for protocol in ("cross_dataset", "dg"):
        assert run(protocol, *transfer, "--cfg", "tiny") == 0
        assert re.search(r"CoOp +\| +80.00 \| +70.00", capsys.readouterr().out)
    assert {path.parent.name for path in checkout.root.glob("output/*/tables.md")} == {"few_shot", "xd", "dg"}
    assert order(checkout).count("xd/train/shapes_both/shots_16/CoOp/tiny/seed1") == 1


def test_folders_are_relative_to_where_the_command_is_given(checkout, undrawn, monkeypatch):
    (checkout.root / "sub").mkdir()
    monkeypatch.chdir(checkout.root / "sub")
    assert run("base2new", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "1", "--output", "mine") == 0
    assert (checkout.root / "sub/mine/base2new/tables.md").is_file()


@pytest.mark.parametrize(
    "words, message",
    [
        (["base2nwe"], "got the protocol 'base2nwe', did you mean base2new?"),
        (["base2new", "--methods", "Co-Op"], "got the method 'Co-Op', did you mean CoOp?"),
        (["base2new", "--datasets", "a,,b"], "got --datasets 'a,,b', expected names separated by commas"),
        (["base2new", "--seeds", "1,x"], "got --seeds '1,x', expected whole numbers separated by commas"),
        (["base2new", "--seeds=-1"], "got --seeds '-1', expected whole numbers separated by commas"),
        (["few_shot", "--shots", ""], "got --shots '', expected names separated by commas"),
        (["base2new", "--jobs", "0"], "got --jobs 0, expected 1 or more"),
        (["base2new", "--jobs-per-gpu", "2"], "got --jobs-per-gpu without --gpus, which it is for"),
        (["base2new", "--gpus", "0", "--gpus-per-run", "2"], "got --gpus-per-run without --slurm, which it is for"),
        (["base2new", "--time", "1:00:00"], "got --time without --slurm"),
        (["base2new", "--slurm-option", "qos=x"], "got --slurm-option without --slurm"),
        (["base2new", "--retries", "-1"], "got --retries -1, expected 0 or more"),
        ([*BASE2NEW, "--gpus", "0,,1"], "got --gpus '0,,1', expected names separated by commas"),
        ([*BASE2NEW, "--slurm", "gpu", "--time", "1h"], "got --time '1h', expected a time such as 4:00:00"),
        ([*BASE2NEW, "--slurm", "gpu", "--slurm-option", "x"], "got --slurm-option 'x', expected KEY=VALUE"),
        ([*BASE2NEW, "--slurm", "gpu"], "got --slurm gpu, and no SLURM here (no srun on the path)"),
        (["base2new", "--datasets", "caltech101", "--", "A"], "got OPTS 'A', expected pairs KEY VALUE"),
    ],
)
def test_what_is_wrong_is_one_line(checkout, capsys, words, message):
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}") and err.count("\n") == 1 and not order(checkout)


def start(folder, *words, fault=lambda: None):
    """The command in a fork of this process."""
    return victims.start(victims.tool("run", *map(str, words)), folder, fault)


def test_ctrl_c_ends_with_one_line(tmp_path, monkeypatch):
    act = "    Path('pid').write_text(f'{os.getpid()} ')\n    time.sleep(100)"
    pid = make_checkout(tmp_path / "checkout", act).root / "pid"
    monkeypatch.chdir(pid.parent)
    process = start(tmp_path, *BASE2NEW)
    wait_for(lambda: pid.exists() and pid.read_text().endswith(" "))
    os.kill(process.pid, signal.SIGINT)
    ending = victims.end(process, tmp_path)
    assert ending.status == 130 and "Traceback" not in ending.err
    assert ending.err.splitlines()[-1] == "interrupted; run the same command to resume"
    assert not is_alive(int(pid.read_text()))


SMALL = ("few_shot", "--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "1,2", "--shots", "1")
OVERRIDES = ("--", "OPTIM.MAX_EPOCH", "9", "OPTIM.WARMUP_EPOCH", "0", "OPTIM.LR", "0.1")


def test_killed_and_started_again_it_ends_with_the_same_tables(tmp_path, runs, undrawn, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(REPOSITORY)

    def killed_in_the_second_run():
        step, taken = Learner.step, []  # of nine epochs of a batch

        def counted(self, *args):
            taken.append(self)
            if len(taken) == 9 + 4:
                (tmp_path / "worker").write_text(str(os.getpid()))
                os.kill(os.getppid(), signal.SIGKILL)
            return step(self, *args)

        Learner.step = counted

    def end(name, **fault) -> victims.Ending:
        words = (*SMALL, "--data", runs.data, "--output", tmp_path / name, *OVERRIDES)
        return victims.end(start(tmp_path / name, *words, **fault), tmp_path / name)

    assert end("killed", fault=killed_in_the_second_run).status == -signal.SIGKILL
    wait_for(lambda: not is_alive(int((tmp_path / "worker").read_text())))
    assert len(list((tmp_path / "killed").rglob("predictions.csv"))) == 1
    for name in ("killed", "whole"):
        ending = end(name)
        assert ending.status == 0, ending.err
    again, table = ((tmp_path / name / "few_shot/tables.md").read_text() for name in ("killed", "whole"))
    assert again == table and "±" in table and "–" not in table and "± 0.00" not in table


def test_a_plan_is_listed_and_run_by_index(checkout, tmp_path, capfd):
    (checkout.root / "train.py").open("a").write("\n\nif __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n")
    plan = (*BASE2NEW, "--data", checkout.root)
    assert run(*plan, "--list") == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(8)) and not order(checkout)
    tested = next(int(line[0]) for line in lines if line[-2] == "after")
    trained, name = int(lines[tested][-1]), lines[tested][3]
    assert run(*plan, "--index", tested) == 2
    assert capfd.readouterr().err.startswith(f"error: run {tested} needs the model of run {trained}, ")
    assert run(*plan, "--index", 99) == 2
    for index in (trained, tested):  # the fork becomes train.py
        assert victims.end(start(tmp_path, *plan, "--index", index), tmp_path).status == 0
    assert order(checkout) == [lines[trained][3], name]


def test_an_estimate_runs_nothing(checkout, capsys):
    estimate = (*BASE2NEW, "--estimate", "--gpus", "0,1,2", "--jobs-per-gpu", 2)
    assert run(*estimate) == 2
    assert capsys.readouterr().err.startswith("error: 8 runs to do, and none done yet whose time could tell")
    add_run(checkout.root / "output", 80.0, method="ZeroshotCLIP", shots=0)
    assert run(*estimate) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("8 runs, 7 to do: ") and any(line.split()[:2] == ["6", "workers"] for line in lines)
    assert not order(checkout)


@pytest.mark.parametrize(
    "text, minutes",
    [("90", 90), ("30:00", 30), ("30:01", 31), ("4:00:00", 240), ("2-0", 2880), ("1-12:30", 2190), ("1-0:0:1", 1441)],
)
def test_times_are_written_as_for_slurm(text, minutes):
    assert run_tool._minutes(text) == minutes
