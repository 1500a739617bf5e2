import pytest

from mocoop.protocols.costs import START, Costs, estimate
from mocoop.protocols.plan import plan_runs
from mocoop.protocols.request import Request
from tests.results.runs import add_run
from tests.scripts.checkout import Checkout


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def plan(checkout, methods=("CoOp", "MoCoOp"), datasets=("caltech101", "shapes_both"), seeds=(1, 2), **request):
    return plan_runs(Request("base2new", methods, datasets, seeds, cfg="tiny", **request), checkout.root)


def finish(checkout, run) -> None:
    """A record of 2.5 s of training and 0.5 s of test."""
    protocol, phase, dataset, shots, method, cfg, seed = run.name.split("/")
    identity = {"method": method, "seed": int(seed[4:]), "shots": int(shots[6:])}
    add_run(checkout.root / "output", 80.0, protocol=protocol, phase=phase, dataset=dataset, cfg=cfg, **identity)


def test_a_run_takes_what_others_of_its_kind_took(checkout):
    first, *_ = runs = plan(checkout)
    finish(checkout, first)
    seconds = Costs(runs, checkout.root)
    same = [run for run in runs if run.name.rpartition("/")[0] == first.name.rpartition("/")[0]]
    assert [seconds(run) for run in same] == [3.0, 3.0]


def test_what_was_not_run_is_scaled_by_what_was(checkout):
    runs = plan(checkout)
    by_law = Costs(runs, checkout.root)
    trained, _, other, _, *_ = runs  # CoOp's trainings on two datasets
    finish(checkout, trained)
    seconds = Costs(runs, checkout.root)
    assert seconds(other) == pytest.approx(by_law(other) * 3.0 / by_law(trained))


def test_the_law_knows_that_more_epochs_images_and_prompts_take_longer(checkout):
    def of(method="CoOp", shots=16, **request):
        runs = plan(checkout, (method,), ("caltech101",), (1,), shots=(shots,), **request)
        return Costs(runs, checkout.root)(runs[0]) - START

    assert of(overrides=("OPTIM.MAX_EPOCH", "40")) > 5 * of() > 0
    assert of(shots=16) > 2 * of(shots=4)
    assert of("MoCoOp", overrides=("OPTIM.MAX_EPOCH", "4")) > of()
    assert of(overrides=("OPTIM.MAX_EPOCH", "many")) > 0  # train.py names it
    assert of(shots=-1) > 1.3 * of(shots=16) and of(overrides=("DATASET.NUM_SHOTS", "abc")) > 0


def test_an_estimate_says_what_it_rests_on(checkout):
    runs = plan(checkout, datasets=("shapes_both",))
    lines = list(estimate(runs, checkout.root, 3))
    assert lines[0].startswith("8 runs, 8 to do: ") and "no record to scale the law by" in lines[2]
    assert [line.split()[0] for line in lines[3:]] == ["1", "2", "3", "4", "8"]
    for run in runs[:4]:
        finish(checkout, run)
    lines = list(estimate(runs, checkout.root, 1))
    assert lines[:2] == [
        "8 runs, 4 to do: 0.00 hours of one worker",
        "4 by records of the same kind of run, 0 by a law, which is rough",
    ]
    assert lines[2].split() == ["1", "worker", "0:00:12"] and lines[3].split() == ["2", "workers", "0:00:06"]
