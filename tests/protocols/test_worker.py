import json
import signal
import subprocess
import sys

from mocoop.protocols.worker import last_line, printing_to, run_job
from tests.protocols.checkout import is_alive, make_checkout, wait_for

PARENT = """
import sys
from pathlib import Path
from mocoop.protocols.plan import Request, plan_runs
from mocoop.protocols.execute import run_all

root = Path(sys.argv[1])
run_all(plan_runs(Request("base2new", ("CoOp",), ("shapes_both",), (1, 2), cfg="tiny"), root), root, (None, None))
"""
# The child is in the worker's process group, as the processes of a data loader are.
WAITING = """
    child = subprocess.Popen(["sleep", "100"])
    Path(run["seed"]).write_text(f"{os.getpid()} {child.pid} ")
    time.sleep(100)
"""


def test_workers_and_their_children_end_with_a_killed_parent(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", WAITING)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(checkout.root)], stderr=subprocess.DEVNULL)
    files = [checkout.root / "seed1", checkout.root / "seed2"]
    wait_for(lambda: all(file.exists() and file.read_text().endswith(" ") for file in files))
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert all(map(is_alive, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(map(is_alive, pids)))


def test_a_worker_answers_in_json_whatever_the_run_prints_or_reads(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", "    print('x', sys.stdin.read(), flush=True)\n    return 1")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    worker = subprocess.Popen([sys.executable, "-m", "mocoop.protocols.worker"], cwd=checkout.root, **pipes)
    folder = "output/base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed1"
    job = json.dumps({"argv": ["--output-dir", folder], "console": str(tmp_path / "new" / "console.txt")})
    worker.stdin.write(f"{job}\n{job}\n")
    worker.stdin.flush()
    assert [json.loads(worker.stdout.readline())["reason"] for _ in range(3)] == ["", "x", "x"]
    worker.stdin.close()
    assert worker.wait(60) == -signal.SIGKILL and worker.stdout.read() == ""
    worker.stdout.close()


def test_the_console_of_a_run_holds_all_that_is_printed_and_is_gone_if_it_ends_well(tmp_path, capfd):
    def main(argv):
        print("to stdout", *argv)
        subprocess.run(["sh", "-c", "echo from a child; echo error: at last >&2"], check=True)
        return status

    console, status = tmp_path / "run" / "console.txt", 1
    assert run_job(main, ["a"], console) == "at last"
    assert console.read_text().splitlines()[-2:] == ["from a child", "error: at last"]
    status = 0
    assert run_job(main, [], console) == "" and not console.exists()
    assert run_job(lambda argv: 1, [], console) == "it failed without a word"


def test_a_console_that_cannot_be_opened_is_the_reason(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    assert run_job(lambda argv: 0, [], tmp_path / "run/console.txt") == f"{tmp_path}/run/console.txt: File exists"


def test_the_reason_is_the_last_line_whatever_bytes_were_printed(tmp_path, capfd):
    with printing_to(tmp_path / "console.txt"):
        subprocess.run(["printf", r"first\nerror: \377 no\n\n"], check=True)
    assert last_line(tmp_path / "console.txt") == "\ufffd no"
