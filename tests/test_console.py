"""A console that goes away or lacks letters costs no training, and a request to end is as good as Ctrl-C."""

import importlib
import io
import os
import shlex
import signal
import subprocess
import sys
from importlib import machinery
from pathlib import Path

import pytest

from mocoop.console import Console, interrupted, kept_console
from mocoop.results.record import read_record
from tests.faults import victims
from tests.faults.runs import ROOT


class Broken(io.StringIO):
    def write(self, text):
        raise self.error


GONE = [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("closed file")]


@pytest.mark.parametrize("error, gone", [*((error, True) for error in GONE), (BlockingIOError(), False)])
def test_what_a_console_that_is_gone_would_show_is_dropped_and_one_that_is_full_not_given_up(error, gone):
    stream = Broken()
    stream.error = error
    console = Console(stream)
    assert console.write("loss") == 4 and console.gone == gone
    console.flush()


def test_letters_that_the_console_lacks_are_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(stream)
    console.write("Épagneul – 1\udce9\n")
    console.flush()
    assert stream.buffer.getvalue() == b"\\xc9pagneul \\u2013 1\\udce9\n" and console.encoding == "ascii"


def test_a_stream_that_was_never_there_takes_everything(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with kept_console():
        print("loss", flush=True)
    assert sys.stdout is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_as_good_as_ctrl_c(number):
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have it ignored
    try:
        with pytest.raises(KeyboardInterrupt), interrupted():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    for number in (1, 2):
        os.dup2(writer, number)


def closed():
    os.close(1)
    sys.stdout = None


def ascii_only():
    sys.stdout.reconfigure(encoding="ascii")


@pytest.mark.parametrize("fault", [broken_pipe, closed, ascii_only])
def test_a_run_goes_on_without_its_console_and_its_log_has_everything(runs, fault):
    run = runs.new("CoOp", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1")
    printed, run.out = run.out, run.out / "Épagneul"
    ending = run.start_printing_to(printed, fault)
    assert ending.status == 0, ending.err
    log = (run.out / "log.txt").read_text(encoding="utf-8")
    assert read_record(run.out / "result.json")["status"] == "done"
    assert "output_dir: " in log and "/Épagneul\n" in log and "Elapsed: " in log


def test_a_run_goes_on_with_a_reader_that_stops_early(runs):
    run = runs.new("CoOp", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1")
    train = f"{shlex.quote(sys.executable)} train.py {shlex.join(run.argv())}"
    command = f"set -o pipefail; {train} 2>&1 | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "***************\n", "")
    assert read_record(run.out / "result.json")["status"] == "done"
    assert "Elapsed: " in (run.out / "log.txt").read_text(encoding="utf-8")


class WithoutDocstrings(machinery.SourceFileLoader):
    """What `python -OO` makes of a module."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        return compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=2)


def test_a_run_needs_no_docstring_and_no_assertion(runs):
    """As under -OO: all of the project is imported anew without them, in a fork."""
    run, ours = runs.new("CoOp", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1"), ("mocoop", "trainers", "datasets")
    finder = machinery.FileFinder.path_hook((WithoutDocstrings, machinery.SOURCE_SUFFIXES))

    def without_docstrings(path):
        if not Path(path).is_relative_to(ROOT) or (*Path(path).relative_to(ROOT).parts, *ours)[0] not in ours:
            raise ImportError(path)
        return finder(path)

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] in (*ours, "train")]:
            del sys.modules[name]
        sys.path_hooks.insert(0, without_docstrings)
        sys.path_importer_cache.clear()

    def anew() -> int:
        train = importlib.import_module("train")
        assert train.__doc__ is importlib.import_module("mocoop.train").main.__doc__ is None
        return train.main(run.argv())

    ending = victims.run(anew, run.out, forget)
    assert ending.status == 0, ending.err
    assert read_record(run.out / "result.json")["status"] == "done"
