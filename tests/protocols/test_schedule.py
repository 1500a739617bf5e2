"""In which order runs start, and how long they take."""

import json

import pytest

from mocoop.errors import ConfigError
from mocoop.protocols.plan import Request, plan_runs
from mocoop.protocols.schedule import GpuMemory, Schedule, Times, estimate, wall_seconds
from tests.protocols.checkout import finish as record_of
from tests.scripts.checkout import Checkout

OTHER = ("MODEL.BACKBONE.NAME", "other.pt")


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def plan(checkout, methods=("CoOp", "MoCoOp"), datasets=("shapes_both",), seeds=(1, 2)):
    return plan_runs(Request("base2new", methods, datasets, seeds, cfg="tiny"), checkout.root)


def finish(checkout, run, seconds=3.0) -> None:
    """A record of a run that took so long, half a second of it to test."""
    path = record_of(checkout.root / "output", run) / "result.json"
    text = path.read_text()
    assert text.count('"train": 2.5') == 1
    path.write_text(text.replace('"train": 2.5', f'"train": {seconds - 0.5}'))


def test_a_run_takes_as_long_as_others_of_its_kind_else_as_the_most_alike(checkout):
    """The same method on other datasets, else other methods; training and testing a model are told apart."""
    runs = plan(checkout, datasets=("caltech101", "imagenet", "shapes_both"), seeds=(1, 2, 3))
    of = {tuple(run.name.split("/")[i] for i in (1, 2, 4, 6)): run for run in runs}
    assert set(map(Times(runs, checkout.root), runs)) == {0.0}
    finish(checkout, of["train_base", "caltech101", "CoOp", "seed1"], 2.0)
    finish(checkout, of["train_base", "caltech101", "CoOp", "seed2"], 4.0)
    finish(checkout, of["train_base", "imagenet", "CoOp", "seed1"], 5.0)
    finish(checkout, of["test_new", "caltech101", "MoCoOp", "seed1"], 1.0)
    seconds = Times(runs, checkout.root)
    assert seconds(of["train_base", "caltech101", "CoOp", "seed3"]) == 3.0
    assert seconds(of["train_base", "imagenet", "CoOp", "seed1"]) == 5.0
    for dataset, method in (("shapes_both", "CoOp"), ("imagenet", "MoCoOp")):
        assert seconds(of["train_base", dataset, method, "seed1"]) == 4.0  # the median
    assert seconds(of["test_new", "imagenet", "MoCoOp", "seed1"]) == 1.0
    assert seconds(of["test_new", "imagenet", "CoOp", "seed1"]) == 1.0


def test_an_estimate_says_what_it_rests_on(checkout):
    runs = plan(checkout)
    with pytest.raises(ConfigError, match="8 runs to do, and none done yet whose time could tell"):
        list(estimate(runs, checkout.root, 3))
    for run in runs[:4]:
        finish(checkout, run)
    lines = list(estimate(runs, checkout.root, 3))
    assert lines[:2] == [
        "8 runs, 4 to do: 0.00 hours of one worker",
        "4 as long as the same run of another seed, 0 as long as runs on other datasets",
    ]
    times = [" ".join(line.split()) for line in lines[2:]]
    assert times == ["1 worker 0:00:12", "2 workers 0:00:06", "3 workers 0:00:06", "4 workers 0:00:06"]
    for run in runs[4:]:
        finish(checkout, run)
    assert list(estimate(runs, checkout.root, 1)) == [
        "8 runs, 0 to do: 0.00 hours of one worker",
        "0 as long as the same run of another seed, 0 as long as runs on other datasets",
        "    1 worker             0:00:00",
    ]


def test_an_estimate_counts_what_is_known_and_names_what_is_not(checkout):
    """Neither another method's time is taken, nor that of another CLIP."""
    runs = plan(checkout, seeds=(1,))
    of = {tuple(run.name.split("/")[i] for i in (1, 4)): run for run in runs}
    finish(checkout, of["train_base", "CoOp"], 3600.5)
    lines = list(estimate(plan(checkout), checkout.root, 1))
    assert lines[:3] == [
        "8 runs, 7 to do: 1.00 hours of one worker",
        "1 as long as the same run of another seed, 0 as long as runs on other datasets",
        "not counted: 6 of CoOp, MoCoOp: nothing was measured yet; do one of each and ask again",
    ]
    request = Request("base2new", ("CoOp",), ("shapes_both",), (1, 2), cfg="tiny", overrides=OTHER)
    other = plan_runs(request, checkout.root)
    with pytest.raises(ConfigError, match="3 runs to do, and none done yet with other.pt whose time could tell"):
        list(estimate(other, checkout.root, 1))


def test_an_estimate_shows_where_the_time_went(checkout):
    runs = plan(checkout, methods=("CoOp",))
    finish(checkout, runs[0])
    path = checkout.root / runs[0].folder / "result.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"timings": {"steps": 30.0, "tests": 9.0, "other": 1.0}}))
    lines = list(estimate(runs, checkout.root, 1))
    assert "where the time of those that were done went: steps 75 %, tests 22 %, other 2 %" in lines
    assert lines[0] == "4 runs, 3 to do: 0.01 hours of one worker"  # 40 s, of the one training


def test_a_run_whose_model_is_trained_goes_before_the_next_training(checkout):
    runs = plan(checkout)
    schedule, started = Schedule(runs), []
    while schedule.ready:
        started.append(schedule.ready.pop(0))
        assert schedule.finish(started[-1], "") == started[-1:]
    assert started == runs and not schedule.outcome.lacking()


def test_what_needs_a_failed_run_is_not_run(checkout):
    trained, tested = plan(checkout, methods=("CoOp",), seeds=(1,))
    assert list(Schedule([tested]).ready) == [tested]  # its training is not in the plan
    schedule = Schedule([trained, tested])
    assert list(schedule.ready) == [trained]
    schedule.ready.clear()
    assert schedule.finish(trained, "no memory") == [trained, tested]
    assert not schedule.ready and schedule.outcome.lacking() == {trained, tested}
    assert schedule.outcome.failed == {trained: "no memory"} and schedule.outcome.not_run == [tested]


def test_the_wall_time_of_workers_follows_the_schedule(checkout):
    runs = plan(checkout, seeds=(1,))  # two trainings and their tests
    assert wall_seconds(runs, lambda run: 1 if run.model else 3, 1) == 8
    assert wall_seconds(runs, lambda run: 1 if run.model else 3, 2) == 4
    assert wall_seconds(runs, lambda run: 1 if run.model else 3, 9) == 4
    assert wall_seconds([], lambda run: 1, 3) == 0


def test_a_run_shares_a_gpu_if_what_other_seeds_took_fits(checkout):
    runs = plan(checkout, seeds=(1, 2, 3))
    first, second, third = (run for run in runs if "/CoOp/" in run.name and not run.model)
    other = next(run for run in runs if "/MoCoOp/" in run.name)
    memory = GpuMemory(checkout.root, {"0": 2000.0})
    assert memory.fits("0", second, [third]), "nothing is known"
    finish(checkout, first)  # 100 MB by its record, 710 with its process and what lies between
    assert memory.peak(second) == pytest.approx(710) and memory.peak(other) == 0
    assert memory.fits("0", second, [third]) and not memory.fits("0", second, [third, first])
    assert memory.fits("0", other, [second, third])
    assert GpuMemory(checkout.root, {"0": 700.0}).fits("0", second, []), "alone it has all there is"
    assert memory.fits(None, second, [third] * 9) and memory.fits("1", second, [third] * 9)
    memory.alone.add(other)  # since it ran out of memory
    assert memory.fits("0", other, []) and not memory.fits("0", other, [third]) and not memory.fits("0", third, [other])
