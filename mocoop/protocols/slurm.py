"""Runs a plan on a SLURM cluster through submitit: arrays of jobs, and those that test a model after its training.

OUTPUT/queue.tsv says which job does which run. What a job still does, or waits to do, is left to it, so that the same
command may be given again at any time: it submits what is missing and nothing twice. submitit's files lie in
OUTPUT/slurm, what a run prints in the run's folder.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mocoop.checkout import program
from mocoop.errors import ConfigError, reason_of
from mocoop.protocols.execute import progress_bar, state
from mocoop.protocols.plan import Run
from mocoop.protocols.schedule import Outcome, Schedule
from mocoop.protocols.status import append_jobs, open_queue, output_of, read_queue, why_failed
from mocoop.protocols.worker import last_line
from mocoop.training.folder_lock import SILENT_SECONDS, holder_of

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.helpers import DelayedSubmission

T = TypeVar("T")
NAME = "mocoop"  # of the jobs
ARRAY = 1000  # jobs; SLURM's own bound is one more by default
POLL_SECONDS = 5.0
LATE_SECONDS = 30.0  # so late another machine may see a record on a shared file system
STOP_SECONDS = 900  # how long a job that was asked to stop waits for SLURM to requeue or to end it
HOPELESS = "DependencyNeverSatisfied"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """What is asked of SLURM.

    minutes: of a job, which is requeued when they are over. parallel: of an array's jobs. runs_per_job: how many follow
    each other in a job; each training with all tests of its model, however many those are.
    """

    partition: str
    minutes: int = 240
    gpus: int = 1
    parallel: int = 32
    runs_per_job: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


class Array(NamedTuple):
    """Jobs that are submitted together, each of one run or more that follow each other.

    after: a dependency of SLURM's, with {} for the last array without a {}.
    """

    jobs: list[tuple[Run, ...]]
    after: str = ""

    @property
    def follows(self) -> bool:
        return "{}" in self.after


def run_on_slurm(
    runs: list[Run],
    checkout: Path,
    cluster: Cluster,
    retries: int = 0,
    seconds: Callable[[Run], float] = lambda run: 0.0,
) -> Outcome:
    """Submits what is neither finished nor in SLURM's hands, and waits for all of it, with progress on stderr.

    Raises ConfigError if submitit is missing or SLURM refuses. KeyboardInterrupt leaves the jobs to SLURM.
    """
    left = [run for run in runs if not run.finished(checkout)]
    submitted = submit(left, checkout, cluster, retries, seconds) if left else 0
    done, adopted = len(runs) - len(left), len(left) - submitted
    logger.info("%d runs: %d finished already, %d submitted, %d waited for", len(runs), done, submitted, adopted)
    return _wait(left, checkout)


def submit(left: list[Run], checkout: Path, cluster: Cluster, retries: int, seconds: Callable[[Run], float]) -> int:
    """Submits those of the runs that no job does; their number."""
    output = output_of(left, checkout)
    executor = _executor(output / "slurm", checkout, cluster)
    with open_queue(output) as file:
        known, now = read_queue(output), jobs()
        if now is None:
            raise ConfigError("squeue does not answer, so it is not known what has been submitted; try again later")
        held = {run.folder: known[run.name] for run in left if known.get(run.name) in now}
        hopeless = {folder: job for folder, job in held.items() if now[job][1] == HOPELESS}
        if hopeless:
            subprocess.run(["scancel", *hopeless.values()], check=False)
        alive = {folder: job for folder, job in held.items() if folder not in hopeless}
        missing = [run for run in left if run.folder not in alive]
        for array in arrays(Schedule(missing, seconds), alive, cluster.runs_per_job):
            if not array.follows:
                first = None
            executor.update_parameters(dependency=array.after.format(first) or None)
            ids = _submit(executor, [Job(str(checkout), runs, retries) for runs in array.jobs])
            first = first or ids[0].partition("_")[0]
            append_jobs(file, {run.name: job for runs, job in zip(array.jobs, ids) for run in runs})
    return len(missing)


def arrays(schedule: Schedule, alive: Mapping[str, str], runs_per_job: int = 1) -> Iterator[Array]:
    """What to submit, in order: an array of runs that need nothing, then arrays of which each job follows its own.

    With several runs a job, those that follow a run are in its job. alive: jobs of runs that are not in the schedule,
    by their folders.
    """
    waiting = schedule.waiting
    ready: dict[str, list[Run]] = defaultdict(list)
    for run in schedule.ready:
        ready[f"afterok:{alive[run.model]}" if run.model and run.model in alive else ""].append(run)
    for after, runs in ready.items():
        if runs_per_job > 1:
            chains = [(run, *waiting.get(run.folder, ())) for run in runs]
            yield from (Array(jobs, after) for jobs in _parts(_bundles(chains, runs_per_job)))
            continue
        runs.sort(key=lambda run: -len(waiting.get(run.folder, ())))
        for _, group in groupby(runs, key=lambda run: len(waiting.get(run.folder, ()))):
            for part in _parts(list(group)):
                yield Array([(run,) for run in part], after)
                corresponding = "aftercorr:{}" if len(part) > 1 else "afterok:{}"
                for layer in zip(*(waiting.get(run.folder, ()) for run in part)):
                    yield Array([(run,) for run in layer], corresponding)


def _parts(items: list[T]) -> Iterator[list[T]]:
    return (items[at : at + ARRAY] for at in range(0, len(items), ARRAY))


def _bundles(chains: list[tuple[Run, ...]], size: int) -> list[tuple[Run, ...]]:
    """Chains one after another in jobs of up to `size` runs; a longer chain is a job of its own."""
    bundles: list[tuple[Run, ...]] = []
    for chain in chains:
        if bundles and len(bundles[-1]) + len(chain) <= size:
            bundles[-1] += chain
        else:
            bundles.append(chain)
    return bundles


def jobs() -> dict[str, tuple[str, str]] | None:
    """State and reason of each job that SLURM has in hand; None if it does not answer, or is not installed."""
    command = ["squeue", "--noheader", "--array", f"--name={NAME}", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    if done.returncode:
        return None
    lines = (line.split("|", 2) for line in done.stdout.splitlines())
    return {job: (state, "" if reason == "None" else reason) for job, state, reason in lines}


def _executor(folder: Path, checkout: Path, cluster: Cluster) -> "SlurmExecutor":
    if shutil.which("srun") is None:
        raise ConfigError(
            f"got --slurm {cluster.partition}, and no SLURM here (no srun on the path); give the command on a "
            "machine that submits jobs, or --jobs or --gpus for this one"
        )
    try:
        import submitit
    except ImportError:
        raise ConfigError("--slurm needs submitit, which is not installed: pip install submitit") from None
    executor = submitit.SlurmExecutor(folder, max_num_timeout=1_000_000)
    options = {"requeue": True, "kill_on_invalid_dep": "yes", "chdir": str(checkout)}
    executor.update_parameters(
        job_name=NAME,
        partition=cluster.partition,
        time=cluster.minutes,
        gpus_per_node=cluster.gpus or None,
        array_parallelism=cluster.parallel,
        additional_parameters=options | {key.replace("-", "_"): value for key, value in cluster.options.items()},
    )
    return executor


def _submit(executor: "SlurmExecutor", functions: list["Job"]) -> list[str]:
    """The numbers of the jobs. Raises ConfigError where SLURM refuses them."""
    try:
        return [job.job_id for job in executor.submit_array(functions)]
    except RuntimeError as error:
        raise ConfigError(f"SLURM refuses the jobs: {reason_of(error, 400)}") from error


def _wait(left: list[Run], checkout: Path) -> Outcome:
    """Waits until no job is left that does one of the runs; what became of them."""
    outcome, pending = Outcome(), list(left)
    gone: dict[Run, float] = {}  # since when no job does it
    with progress_bar(len(left)) as bar:
        while pending:
            now, known = jobs(), read_queue(output_of(left, checkout))
            for run in pending.copy():
                if now is None:
                    break  # SLURM does not answer
                job, finished = known.get(run.name, ""), run.finished(checkout)
                if not finished and job in now and now[job][1] != HOPELESS:
                    gone.pop(run, None)
                    continue
                if not finished and time.monotonic() - gone.setdefault(run, time.monotonic()) < LATE_SECONDS:
                    continue
                pending.remove(run)
                if not finished:
                    _settle(outcome, run, checkout, f"its job {job} was cancelled or lost")
                bar.set_postfix_str(state(outcome, run), refresh=False)
                bar.update()
            time.sleep(POLL_SECONDS if pending else 0)
    return outcome


def _settle(outcome: Outcome, run: Run, checkout: Path, otherwise: str) -> None:
    """Notes that a run was not run, as the training of its model failed, or has failed, and why."""
    if any(failed.folder == run.model for failed in outcome.failed) and not run.console(checkout).exists():
        outcome.not_run.append(run)
    else:
        outcome.failed[run] = why_failed(checkout / run.folder) or otherwise


class Job:
    """Runs as a job of submitit's: train.py in a process of its own, which saves its state if the job has to end.

    Before the time is over, and at preemption, submitit gets SIGUSR2, calls `checkpoint` and requeues the job. At a
    SIGTERM alone the job stays until SLURM requeues it or ends it, since one that ended by itself would be over.
    """

    def __init__(self, checkout: str, runs: Sequence[Run], retries: int):
        self.checkout, self.runs, self.retries = Path(checkout), tuple(runs), retries
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Runs what is not finished. Raises RuntimeError in the end where a run has failed, so that the job does."""
        reasons: dict[str, str] = {}  # by the folders of runs without a result
        for run in self.runs:
            if run.model in reasons:
                reasons[run.folder] = "its model was not trained"
            elif not run.finished(self.checkout) and (reason := self._run(run)):
                reasons[run.folder] = reason
        if reasons:
            raise RuntimeError(next(iter(reasons.values())))

    def _run(self, run: Run) -> str:
        """Why it failed, or an empty string."""
        console = run.console(self.checkout)
        self._wait_for(self.checkout / run.folder)
        for _ in range(self.retries + 1):
            status = self._train(run, console)
            if status == 0:
                console.unlink(missing_ok=True)
                return ""
            if status in (128 + signal.SIGTERM, -signal.SIGTERM):
                time.sleep(STOP_SECONDS)
                raise RuntimeError(last_line(console) or "it was asked to stop")
        return last_line(console) or f"train.py ended with status {status}"

    def checkpoint(self) -> "DelayedSubmission":
        """Has the run in progress save its state and end; what goes on once the job is requeued."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # wait() may be what was interrupted
        return DelayedSubmission(Job(str(self.checkout), self.runs, self.retries))

    def _train(self, run: Run, console: Path) -> int:
        settings = {"OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1")} | os.environ
        console.parent.mkdir(parents=True, exist_ok=True)
        with open(console, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *program(self.checkout), *run.argv],
                cwd=self.checkout,
                env=settings,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),  # which all of a job's processes get
            )
        return self.process.wait()

    def _wait_for(self, folder: Path) -> None:
        """The job may go on while the lock of the machine that it was on, which has died, still seems to be held."""
        end = time.monotonic() + 1.5 * SILENT_SECONDS
        while holder_of(folder) and time.monotonic() < end:
            time.sleep(5)
