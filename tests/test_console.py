"""A console that goes away or lacks letters costs no training, and a request to end is as good as Ctrl-C."""

import io
import os
import shlex
import signal
import subprocess
import sys

import pytest

from mocoop.console import Console, interrupted, kept_console
from mocoop.results.record import read_record
from tests.faults.runs import ROOT


class Broken(io.StringIO):
    def write(self, text):
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("closed file")])
def test_what_a_console_that_is_gone_would_show_is_dropped(error):
    stream = Broken()
    stream.error = error
    console = Console(stream)
    assert console.write("loss") == 4 and console.gone
    console.flush()


def test_a_console_that_is_full_for_a_moment_is_not_given_up():
    stream = Broken()
    stream.error = BlockingIOError()
    console = Console(stream)
    assert console.write("loss") == 4 and not console.gone


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


def test_with_a_reader_that_stops_early_and_without_docstrings(runs):
    run = runs.new("CoOp", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1")
    train = f"{shlex.quote(sys.executable)} -OO train.py {shlex.join(run.argv())}"
    command = f"set -o pipefail; {train} 2>&1 | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "***************\n", "")
    assert read_record(run.out / "result.json")["status"] == "done"
    assert "Elapsed: " in (run.out / "log.txt").read_text(encoding="utf-8")
