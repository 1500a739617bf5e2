"""What is submitted to SLURM, taken over and waited for, with a stand-in for SLURM; a real one: test_cluster.py."""

import os
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from mocoop.errors import ConfigError
from mocoop.protocols import slurm
from mocoop.protocols.plan import Request, plan_runs
from mocoop.protocols.schedule import Schedule
from mocoop.protocols.slurm import Array, Cluster, Job, arrays, run_on_slurm, submit
from mocoop.protocols.status import read_queue
from tests.protocols.checkout import finish, make_checkout, order, wait_for


def plan(checkout, protocol="base2new", methods=("CoOp", "MoCoOp"), seeds=(1, 2), **request):
    datasets = ("shapes_both",) if protocol == "base2new" else ("caltech101", "imagenet_sketch")
    return plan_runs(Request(protocol, methods, datasets, seeds, cfg="tiny", **request), checkout.root)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A checkout, and SLURM as squeue and an executor of submitit's show it."""
    checkout = make_checkout(tmp_path / "checkout")
    squeue = checkout.write("bin/squeue", f"#!/bin/sh\n[ ! -f {tmp_path}/down ] && cat {tmp_path}/squeue\n")
    scancel = checkout.write("bin/scancel", f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
    for program in (squeue, scancel):
        program.chmod(0o755)
    (tmp_path / "squeue").write_text("")
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(slurm, "LATE_SECONDS", 0.1)
    made = SimpleNamespace(checkout=checkout, folder=tmp_path, submitted=[], on_submit=lambda job, run: None)
    monkeypatch.setattr(slurm, "_executor", lambda folder, checkout, cluster: FakeExecutor(made))
    return made


class FakeExecutor:
    """Gives numbers to jobs, which squeue then shows."""

    def __init__(self, made):
        self.made, self.dependency = made, None

    def update_parameters(self, dependency):
        self.dependency = dependency

    def submit_array(self, functions):
        array = len(self.made.submitted) + 1
        self.made.submitted.append((self.dependency, [run.name for function in functions for run in function.runs]))
        ids = [str(array) if len(functions) == 1 else f"{array}_{number}" for number in range(len(functions))]
        show(self.made, {job: "PENDING|Priority" for job in ids})
        for job, function in zip(ids, functions):
            for run in function.runs:
                self.made.on_submit(job, run)
        return [SimpleNamespace(job_id=job) for job in ids]


def show(made, jobs: dict) -> None:
    with open(made.folder / "squeue", "a") as file:
        file.writelines(f"{job}|{state}\n" for job, state in jobs.items())


def send(made, runs, retries=0, **options) -> int:
    left = [run for run in runs if not run.finished(made.checkout.root)]
    return submit(left, made.checkout.root, Cluster("debug", **options), retries, lambda run: 0.0)


def array(runs, after="") -> Array:
    """One of jobs of one run."""
    return Array([(run,) for run in runs], after)


def test_each_test_follows_the_training_of_its_model_task_by_task(cluster):
    runs = plan(cluster.checkout)
    trained, tested = [run for run in runs if not run.model], [run for run in runs if run.model]
    assert list(arrays(Schedule(runs), {})) == [array(trained), array(tested, "aftercorr:{}")]
    (none, first), (after, second) = (send(cluster, runs), cluster.submitted)[1]
    assert (none, after) == (None, "aftercorr:1")
    assert [name.replace("train_base", "test_new") for name in first] == second
    assert read_queue(cluster.checkout.root / "output")[tested[1].name] == "2_1"


def test_targets_of_a_transfer_and_trainings_alone_are_arrays_of_their_own(cluster):
    runs = plan(cluster.checkout, "xd", source="shapes_both")
    made = list(arrays(Schedule(runs), {}))
    assert [(len(array.jobs), array.after) for array in made] == [(4, ""), (4, "aftercorr:{}"), (4, "aftercorr:{}")]
    trained = [run.folder for (run,) in made[0].jobs]
    assert all([run.model for (run,) in array.jobs] == trained for array in made[1:])
    coop, mocoop, *_ = (run for run in plan(cluster.checkout) if not run.model)
    tests = [run for run in plan(cluster.checkout) if run.model == coop.folder]
    made = list(arrays(Schedule([mocoop, coop, *tests]), {}))
    assert made == [array([coop]), array(tests, "afterok:{}"), array([mocoop])]


def test_large_plans_are_cut_into_arrays_that_slurm_takes(cluster, monkeypatch):
    monkeypatch.setattr(slurm, "ARRAY", 3)
    runs = plan(cluster.checkout)
    assert [len(array.jobs) for array in arrays(Schedule(runs), {})] == [3, 3, 1, 1]
    send(cluster, runs)
    assert [after for after, _ in cluster.submitted] == [None, "aftercorr:1", None, "afterok:3"]


def test_several_runs_in_a_job_are_trainings_with_their_tests(cluster):
    runs = plan(cluster.checkout, seeds=(1, 2, 3))  # six trainings, each with a test
    (made,) = arrays(Schedule(runs), {}, runs_per_job=5)
    assert [len(job) for job in made.jobs] == [4, 4, 4] and made.after == ""
    for job in made.jobs:
        assert [run.model for run in job] == [None, job[0].folder, None, job[2].folder]
    assert [len(job) for job in next(arrays(Schedule(runs), {}, runs_per_job=2)).jobs] == [2] * 6
    assert send(cluster, runs, runs_per_job=5) == 12 and send(cluster, runs, runs_per_job=5) == 0
    queue = read_queue(cluster.checkout.root / "output")
    assert [queue[run.name] for run in made.jobs[1]] == ["1_1"] * 4


def test_a_test_whose_model_another_job_trains_follows_that_in_a_job_of_several(cluster):
    runs = plan(cluster.checkout)
    trained = [run for run in runs if not run.model]
    alive = {trained[0].folder: "7_0"}
    made = list(arrays(Schedule([run for run in runs if run is not trained[0]]), alive, runs_per_job=10))
    assert {(array.after, sum(map(len, array.jobs))) for array in made} == {("afterok:7_0", 1), ("", 6)}


def test_nothing_is_submitted_twice_and_nothing_while_squeue_is_silent(cluster):
    runs = plan(cluster.checkout)
    (cluster.folder / "down").touch()
    with pytest.raises(ConfigError, match="squeue does not answer"):
        send(cluster, runs)
    assert not cluster.submitted
    (cluster.folder / "down").unlink()
    assert send(cluster, runs) == 8
    assert send(cluster, runs) == 0 and len(cluster.submitted) == 2


def test_what_is_missing_is_submitted_after_what_still_goes_on(cluster):
    runs = plan(cluster.checkout, methods=("CoOp",))
    send(cluster, runs)
    finish(cluster.checkout.root / "output", runs[0])
    (cluster.folder / "squeue").write_text("1_1|RUNNING|None\n")  # the tests are gone, and so is the finished training
    assert send(cluster, runs) == 2
    assert cluster.submitted[2:] == [(None, [runs[1].name]), ("afterok:1_1", [runs[3].name])]
    (cluster.folder / "squeue").write_text("1_1|RUNNING|None\n4|PENDING|DependencyNeverSatisfied\n")
    assert send(cluster, runs) == 2 and (cluster.folder / "cancelled").read_text() == "4\n"  # one that can never start


def test_all_jobs_are_waited_for_and_what_failed_is_named(cluster):
    runs = plan(cluster.checkout)

    def end(job, run):
        if "CoOp/tiny/seed1" not in run.name or run.name.split("/")[4] == "MoCoOp":
            finish(cluster.checkout.root / "output", run)

    cluster.on_submit = end
    threading.Timer(0.3, (cluster.folder / "squeue").write_text, ("",)).start()
    outcome = run_on_slurm(runs, cluster.checkout.root, Cluster("debug"))
    failed, not_run = outcome.lines(cluster.checkout.root)
    assert failed == f"failed: {runs[0].name}: its job 1_0 was cancelled or lost"
    assert not_run == f"not run: {runs[1].name}: its model was not trained"


def test_slurm_or_submitit_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.jobs() is None
    with pytest.raises(ConfigError, match="got --slurm gpu, and no SLURM here"):
        slurm._executor(tmp_path, tmp_path, Cluster("gpu"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    (tmp_path / "srun").touch(0o755)
    with pytest.raises(ConfigError, match="pip install submitit"):
        slurm._executor(tmp_path, tmp_path, Cluster("gpu"))


def test_the_options_reach_sbatch(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = Cluster("gpu", 90, 2, 7, 1, {"cpus-per-task": "8", "account": "lab"})
    executor = slurm._executor(tmp_path / "slurm", tmp_path, asked)
    executor.parameters["map_count"] = 30
    text = executor._make_submission_file_text("train", "")
    expected = "partition=gpu time=90 gpus-per-node=2 array=0-29%7 cpus-per-task=8 account=lab requeue "
    expected += f"kill-on-invalid-dep=yes signal=USR2@90 chdir={tmp_path}"
    for option in expected.split():
        assert f"#SBATCH --{option}\n" in text


def job_of(tmp_path, act, retries=0) -> tuple:
    """A checkout whose train.py starts in no time, one of its runs, and a job of it."""
    checkout = make_checkout(tmp_path / "checkout", act)
    text = (checkout.root / "train.py").read_text().replace("from tests.results.runs import add_run\n", "")
    text += """
def add_run(root, accuracy, *, protocol, phase, dataset, shots, method, cfg, seed):
    folder = Path(root, protocol, phase, dataset, f"shots_{shots}", method, cfg, f"seed{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    Path(folder, "result.json").write_text('{"status": "done"}')

sys.exit(main(sys.argv[1:]))
"""
    checkout.write("train.py", text)
    run = plan(checkout)[0]
    return checkout, run, Job(str(checkout.root), (run,), retries)


def test_a_job_runs_train_py_as_often_as_asked_and_leaves_its_console_where_it_fails(tmp_path):
    checkout, run, job = job_of(tmp_path, "    if not Path('ok').exists(): sys.exit('error: no luck')", retries=1)
    with pytest.raises(RuntimeError, match="^no luck$"):
        job()
    assert run.console(checkout.root).read_text().splitlines()[-1] == "error: no luck"
    assert order(checkout) == [run.name] * 2
    checkout.write("ok", "")
    job()
    assert run.finished(checkout.root) and not run.console(checkout.root).exists()


def test_a_job_that_has_to_end_lets_its_run_save_and_is_requeued(tmp_path):
    pytest.importorskip("submitit")
    act = """
    signal.signal(signal.SIGTERM, lambda *_: Path("saved").touch())
    os.kill(os.getpid(), signal.SIGUSR2)  # as every process of a job gets it
    Path("ready").touch()
    signal.pause()
    return 143
"""
    checkout, run, job = job_of(tmp_path, act)
    waiting, again = threading.Thread(target=job._train, args=(run, run.console(checkout.root))), []
    waiting.start()
    wait_for((checkout.root / "ready").exists)
    again.append(job.checkpoint())
    assert (checkout.root / "saved").exists() and again[0].function.runs == (run,) and again[0].function.process is None
    waiting.join()
    assert job.process.returncode == 143


def test_a_job_that_was_asked_to_stop_waits_for_slurm_to_end_it(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(slurm.time, "sleep", waited.append)
    checkout, run, job = job_of(tmp_path, "    sys.exit(143)", retries=5)
    with pytest.raises(RuntimeError):
        job()
    assert waited == [slurm.STOP_SECONDS] and order(checkout) == [run.name]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_a_job_of_several_runs_goes_on_after_one_that_fails(tmp_path):
    act = "    if (run['method'], run['seed']) == ('CoOp', 'seed1'): sys.exit('error: no luck')"
    checkout, *_ = job_of(tmp_path, act)
    runs = plan(checkout, seeds=(1, 2))
    job = Job(str(checkout.root), runs, 0)
    with pytest.raises(RuntimeError, match="^no luck$"):
        job()
    lacking = [run.name for run in runs if not run.finished(checkout.root)]
    assert len(lacking) == 2 and all("CoOp/tiny/seed1" in name for name in lacking)
    assert len(order(checkout)) == len(runs) - 1, "a test whose model was not trained is left out"
    with pytest.raises(RuntimeError):
        job()
    assert len(order(checkout)) == len(runs), "what is finished is not started again"
