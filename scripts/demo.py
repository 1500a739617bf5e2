"""Every method base-to-new on the Shapes sets over three seeds, with MoCoOp's ablations on one of them; then tables
and figures.

The runs are those of scripts/<method>/base2new_*.sh, in the same folders; finished ones are kept. Started by demo.sh,
in the checkout, as `python -m scripts.demo`.
"""

import contextlib
import io
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mocoop.errors import MocoopError

OUTPUT = Path(os.environ.get("OUTPUT", "output"))
WORKERS = 2

DATASETS = ["shapes_color", "shapes_shape", "shapes_both"]
ABLATED = ["shapes_both"]
SEEDS = [1, 2, 3]
SHOTS = 16
VARIANTS = {
    "tiny": "MoCoOp",
    "tiny_one_expert": "one expert",
    "tiny_random_router": "random router",
    "tiny_dense": "dense",
}
METHODS = {"mocoop": list(VARIANTS), "cocoop": ["tiny"], "coop": ["tiny"], "zsclip": ["tiny"]}


@dataclass(frozen=True)
class Job:
    """The runs of one method, dataset and seed that are not finished: training, then the test on new classes."""

    name: str
    commands: list[list[str]]


def plan() -> list[Job]:
    """The jobs that are left to do."""
    jobs = []
    for method, cfgs in METHODS.items():
        for cfg in cfgs:
            for dataset in DATASETS if cfg == "tiny" else ABLATED:
                commands = [_commands(method, phase, cfg, dataset) for phase in ("train", "test")]
                for seed in SEEDS:
                    todo = [by_seed[seed] for by_seed in commands if seed in by_seed]
                    jobs += [Job(f"{method} {cfg} {dataset} seed {seed}", todo)] if todo else []
    return jobs


def _commands(method: str, phase: str, cfg: str, dataset: str) -> dict[int, list[str]]:
    """The arguments of train.py by seed, as the method's script would give them, without those of finished runs."""
    script = f"scripts/{method}/base2new_{phase}.sh"
    settings = os.environ | {"DRY_RUN": "1", "CFG": cfg, "SHOTS": str(SHOTS)}
    command = ["bash", script, dataset, *map(str, SEEDS)]
    lines = subprocess.run(command, env=settings, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    runs = [words[words.index("train.py") + 1 :] for words in map(shlex.split, lines) if "train.py" in words]
    return {int(argv[argv.index("--seed") + 1]): argv for argv in runs}


@contextlib.contextmanager
def interrupts_ignored():
    """Ctrl-C does nothing meanwhile, nor ever in a process that is started meanwhile."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def start_worker() -> None:
    """Imports the trainers, slow to load, once per process."""
    import train  # noqa: F401


def run_job(job: Job) -> str:
    """Runs a job's commands in this process; the reason where one fails, else an empty string."""
    import train

    for argv in job.commands:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                failed = train.main(argv) != 0
            except (Exception, SystemExit):  # whatever it is, the other runs go on and it is named at the end
                traceback.print_exc()
                failed = True
        if failed:
            return output.getvalue().strip().rpartition("\n")[2]
    return ""


def run_all(jobs: list[Job]) -> dict[str, str]:
    """Runs the jobs side by side, with progress; {name: reason} of those that failed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context, initializer=start_worker) as pool:
        with interrupts_ignored():  # the workers are started here
            running = {pool.submit(run_job, job): job for job in jobs}
        try:
            return follow(running)
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def follow(running: dict[Future, Job]) -> dict[str, str]:
    failures = {}
    with tqdm(as_completed(running), total=len(running), unit="run", dynamic_ncols=True) as finished:
        for future in finished:
            job = running[future]
            reason = repr(future.exception()) if future.exception() else future.result()
            if reason:
                failures[job.name] = reason
            finished.set_postfix_str(job.name)
    return failures


def report(folder: Path) -> None:
    """Prints the tables and writes them, the runs and the figures."""
    from mocoop.engine import atomic_write
    from mocoop.results.aggregate import base_to_new
    from mocoop.results.collect import collect
    from mocoop.results.figures import base_new_figure, base_new_scatter, routing_figure, save_figure
    from mocoop.results.render import to_markdown
    from mocoop.results.tables import ablation_table, base_new_table, routing_table

    runs = collect(OUTPUT).frame
    wanted = {"protocol": ["base2new"], "dataset": DATASETS, "seed": SEEDS, "shots": [0, SHOTS], "cfg": list(VARIANTS)}
    for column, values in wanted.items():
        runs = runs[runs[column].isin(values)]
    methods, variants = runs[runs["cfg"] == "tiny"], runs[runs["method"] == "MoCoOp"]
    ablated = variants[variants["dataset"].isin(ABLATED)]
    learned = variants[variants["cfg"] == "tiny"]
    tables = [
        base_new_table(methods, SEEDS),
        routing_table(learned, SEEDS),
        ablation_table(ablated, VARIANTS, SEEDS),
    ]
    text = "\n".join(map(to_markdown, tables))
    print(f"\n{text}")
    with atomic_write(folder / "table.md") as file:
        file.write(text)
    with atomic_write(folder / "results.csv") as file:
        runs.drop(columns="routing").to_csv(file, index=False)
    save_figure(base_new_figure(base_to_new(methods, SEEDS)), folder / "base_new.png")
    save_figure(base_new_scatter(base_to_new(methods, SEEDS)), folder / "base_against_new.png")
    save_figure(base_new_figure(base_to_new(ablated, SEEDS), VARIANTS), folder / "ablations.png")
    save_figure(routing_figure(learned), folder / "routing.png")


def main() -> int:
    started = time.time()
    jobs = plan()
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores; read when they import torch
    try:
        failures = run_all(jobs) if jobs else {}
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    try:
        report(OUTPUT / "demo")
        print(f"Tables, runs and figures: {OUTPUT / 'demo'} ({time.time() - started:.0f} s for {len(jobs)} jobs)")
    except MocoopError as error:
        failures["tables"] = str(error)
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
