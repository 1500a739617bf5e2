import os
import signal
import threading

import pytest

from mocoop.errors import ConfigError
from mocoop.protocols.execute import Worker, run_all
from mocoop.protocols.plan import Request, plan_runs
from tests.protocols.checkout import is_alive, make_checkout, order, wait_for

pytestmark = pytest.mark.usefixtures("forked")


def plan(checkout, methods=("CoOp", "MoCoOp"), seeds=(1, 2)):
    return plan_runs(Request("base2new", methods, ("shapes_both",), seeds, cfg="tiny"), checkout.root)


def execute(tmp_path, act="    return 0", jobs=1, options=None, **request):
    checkout = make_checkout(tmp_path / "checkout", act)
    runs = plan(checkout, **request)
    return checkout, runs, run_all(runs, checkout.root, (None,) * jobs, **(options or {}))


def failing(statement: str) -> str:
    """The body of `act`: the training of CoOp, seed 2, does something else."""
    return f"    if (run['phase'], run['method'], run['seed']) == ('train_base', 'CoOp', 'seed2'):\n        {statement}"


FAILED = "base2new/train_base/shapes_both/shots_16/CoOp/tiny/seed2"
NOT_RUN = FAILED.replace("train_base", "test_new")


@pytest.mark.parametrize("jobs", [1, 3])
def test_all_runs_of_a_plan_are_run_once(tmp_path, monkeypatch, jobs):
    if jobs > 1:  # the processes that users have; all else here forks its workers, which takes less time
        monkeypatch.setattr("mocoop.protocols.execute.Worker", Worker)
    checkout, runs, outcome = execute(tmp_path, jobs=jobs)
    assert outcome.lines(checkout.root) == []
    assert sorted(order(checkout)) == sorted(run.name for run in runs)
    assert all(run.finished(checkout.root) for run in runs)
    assert not list(checkout.root.rglob("console.txt"))


def test_finished_runs_are_counted_and_not_run_again_and_refused_with_other_settings(tmp_path, caplog, capfd):
    caplog.set_level("INFO", "mocoop")
    checkout, *_ = execute(tmp_path, seeds=(1,))
    runs = plan(checkout)
    assert not run_all(runs, checkout.root).lacking()
    assert [record.message for record in caplog.records] == [
        "4 runs: 0 finished already, 4 to do",
        "8 runs: 4 finished already, 4 to do",
    ]
    assert sorted(order(checkout)) == sorted(run.name for run in runs) and " 4/4 " in capfd.readouterr().err
    checkout.write("other_settings", "")
    outcome = run_all(runs[:2], checkout.root)
    assert "holds a run of other settings" in outcome.lines(checkout.root)[0] and outcome.not_run == runs[1:2]


@pytest.mark.parametrize(
    "statement, reason",
    [
        ("print('error: the disk is full', file=sys.stderr); return 2", "the disk is full"),
        ("raise RuntimeError('nan in loss')", "RuntimeError: nan in loss"),
        ("print('error: no such flag', file=sys.stderr); sys.exit(2)", "no such flag"),
        ("os.write(2, b'error: from C\\n'); return 1", "from C"),
        ("return 3", "noise of"),
    ],
)
def test_a_failing_run_is_named_with_its_reason_and_the_others_go_on(tmp_path, statement, reason):
    checkout, runs, outcome = execute(tmp_path, failing(statement))
    failed, not_run = outcome.lines(checkout.root)
    log = checkout.root / "output" / FAILED / "console.txt"
    assert failed.startswith(f"failed: {FAILED}: {reason}") and failed.endswith(f"; log: {log}")
    assert log.read_text().startswith("noise of")
    assert not_run == f"not run: {NOT_RUN}: its model was not trained"
    assert len(order(checkout)) == len(runs) - 1 and len(outcome.lacking()) == 2


def test_a_run_whose_process_is_killed_is_run_again_and_has_failed_if_it_dies_again(tmp_path):
    act = failing("if not Path('killed').exists(): Path('killed').touch(); os.kill(os.getpid(), signal.SIGKILL)")
    checkout, runs, outcome = execute(tmp_path / "once", act)
    assert not outcome.lacking() and order(checkout).count(FAILED) == 2 and len(order(checkout)) == len(runs) + 1
    checkout, runs, outcome = execute(tmp_path / "twice", failing("os.kill(os.getpid(), signal.SIGKILL)"), jobs=2)
    assert outcome.lines(checkout.root)[0].startswith(f"failed: {FAILED}: its process died (SIGKILL), 2 times; log: ")
    assert sum(run.finished(checkout.root) for run in runs) == len(runs) - 2


def test_a_train_py_that_cannot_be_imported_is_one_error(tmp_path):
    checkout = make_checkout(tmp_path)
    checkout.write("train.py", "import nothing_of_that_name\n")
    with pytest.raises(ConfigError, match="train.py cannot be imported: ModuleNotFoundError: No module named 'nothing"):
        run_all(plan(checkout), checkout.root, (None, None))


@pytest.mark.parametrize("given, expected", [(None, "1"), ("5", "5")])
def test_workers_share_the_cores(tmp_path, monkeypatch, given, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr("mocoop.protocols.execute._cores", lambda: 3)
    act = "    Path('threads').write_text(os.environ['OMP_NUM_THREADS'])"
    checkout, *_ = execute(tmp_path, act, jobs=2, seeds=(1,))
    assert (checkout.root / "threads").read_text() == expected


def test_an_interrupt_ends_the_workers_and_what_they_started(tmp_path):
    act = "    child = subprocess.Popen(['sleep', '100'])\n    Path('pids').write_text(f'{os.getpid()} {child.pid} ')"
    checkout = make_checkout(tmp_path / "checkout", act + "\n    time.sleep(100)")
    interrupter = threading.Thread(target=interrupt_when, args=(checkout.root / "pids",))
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        run_all(plan(checkout), checkout.root)
    interrupter.join()
    pids = list(map(int, (checkout.root / "pids").read_text().split()))
    wait_for(lambda: not any(map(is_alive, pids)))


def test_sigterm_lets_a_run_save_its_state(tmp_path):
    act = """
    signal.signal(signal.SIGTERM, lambda *_: Path("saved").touch())
    Path("pids").write_text(f"{os.getpid()} ")
    signal.pause()
    return 143
"""
    checkout = make_checkout(tmp_path / "checkout", act)
    terminator = threading.Thread(target=interrupt_when, args=(checkout.root / "pids", signal.SIGTERM))
    terminator.start()
    with pytest.raises(KeyboardInterrupt):
        run_all(plan(checkout), checkout.root)
    terminator.join()
    assert (checkout.root / "saved").exists() and len(order(checkout)) == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def interrupt_when(path, number=signal.SIGINT):
    wait_for(lambda: path.exists() and path.read_text().endswith(" "))
    os.kill(os.getpid(), number)


ON_A_GPU = "    with open('gpus.txt', 'a') as file: print(os.environ['CUDA_VISIBLE_DEVICES'], file=file)\n"


def gpus_of(checkout) -> list[str]:
    return (checkout.root / "gpus.txt").read_text().splitlines()


def test_each_worker_sees_its_gpu_alone_and_a_run_whose_process_dies_goes_on_another(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", ON_A_GPU + "    time.sleep(0.1)")
    runs = plan(checkout, methods=("ZeroshotCLIP",), seeds=(1, 2, 3))
    assert not run_all(runs, checkout.root, ("0", "GPU-5f")).lacking()
    used = gpus_of(checkout)
    assert set(used) == {"0", "GPU-5f"} and len(used) == len(runs)
    dies = "    if os.environ['CUDA_VISIBLE_DEVICES'] == '0': os.kill(os.getpid(), signal.SIGKILL)"
    checkout = make_checkout(tmp_path / "dying", ON_A_GPU + dies)
    runs = plan(checkout, methods=("ZeroshotCLIP",), seeds=(1, 2))
    assert not run_all(runs, checkout.root, ("0", "1")).lacking()
    assert gpus_of(checkout).count("1") == len(runs)


def test_a_run_that_fails_is_tried_again_as_often_as_asked(tmp_path):
    act = failing("Path('tries').open('a').write('x'); assert len(Path('tries').read_text()) > 2, 'not yet'")
    checkout, runs, outcome = execute(tmp_path, act, options={"retries": 2})
    assert not outcome.lacking() and order(checkout).count(FAILED) == 3
    (checkout.root / "tries").write_text("")
    (checkout.root / "output" / FAILED / "result.json").unlink()
    outcome = run_all(runs, checkout.root, retries=1)
    assert outcome.lines(checkout.root)[0].startswith(f"failed: {FAILED}: AssertionError: not yet, 2 times; log: ")


def test_runs_that_do_not_fit_beside_each_other_wait(tmp_path):
    act = """
    busy = Path("busy")
    assert not busy.exists(), "another run is here"
    busy.touch(); time.sleep(0.05); busy.unlink()
"""
    checkout = make_checkout(tmp_path / "checkout", act)
    runs = plan(checkout, methods=("ZeroshotCLIP",), seeds=(1, 2, 3, 4))
    run_all([run for run in runs if run.seed == 1], checkout.root)
    assert not run_all(runs, checkout.root, ("0", "0"), gpu_memory={"0": 1000.0}).lacking()  # each takes 710


def test_a_run_that_runs_out_of_memory_beside_another_is_tried_alone(tmp_path):
    act = """
    busy = Path("busy " + run["seed"])
    busy.touch(); time.sleep(0.1)
    tries = Path("tries of seed2")
    if run["seed"] == "seed2":
        with tries.open("a") as file: file.write("x")
        if tries.read_text() == "x" or len(list(Path().glob("busy *"))) > 1:
            busy.unlink()
            print("error: out of GPU memory: lower it", file=sys.stderr)
            return 2
    busy.unlink()
"""
    checkout = make_checkout(tmp_path / "checkout", act)
    runs = [run for run in plan(checkout, methods=("ZeroshotCLIP",), seeds=(1, 2, 3)) if "train_base" in run.name]
    assert not run_all(runs, checkout.root, ("0", "0"), gpu_memory={"0": 1e6}).lacking()
    assert order(checkout).count(runs[1].name) == 2


def test_a_worker_that_is_spent_is_replaced(tmp_path, caplog):
    act = """
    with open("pids.txt", "a") as file: print(os.getpid(), run["seed"], file=file)
    sys.modules["mocoop.protocols.worker"].LEAKED_MB = 50.0
    if run["seed"] == "seed2": sys.leaked = b"x" * (100 << 20)
"""
    checkout = make_checkout(tmp_path / "checkout", act)
    runs = plan(checkout, methods=("ZeroshotCLIP",), seeds=(1, 2, 3))
    runs = [run for run in runs if "train" in run.name]
    assert not run_all(runs, checkout.root).lacking()
    pids = {line.split()[1]: line.split()[0] for line in (checkout.root / "pids.txt").read_text().splitlines()}
    assert pids["seed1"] == pids["seed2"] != pids["seed3"]
    assert "seed2: runs left 1" in caplog.text and "MB behind" in caplog.text


def test_what_most_seconds_depend_on_starts_first(tmp_path):
    seconds = {"train_base CoOp": 5, "test_new CoOp": 1, "train_base MoCoOp": 4, "test_new MoCoOp": 9}

    def kind(name: str) -> str:
        return " ".join(name.split("/")[1:5:3])

    checkout = make_checkout(tmp_path / "checkout")
    run_all(plan(checkout, seeds=(1,)), checkout.root, seconds=lambda run: seconds[kind(run.name)])
    expected = ["train_base MoCoOp", "test_new MoCoOp", "train_base CoOp", "test_new CoOp"]
    assert list(map(kind, order(checkout))) == expected
