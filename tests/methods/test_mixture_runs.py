"""Runs of a mixture whose experts put rows into the image tower: killed, by two ranks, used afterwards."""

import signal

import pandas as pd
import pytest
import torch

from mocoop.errors import ConfigError
from mocoop.export import export_run
from mocoop.images import read_image
from mocoop.report.routing_section import MISSING, router_blocks
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.runs.interpretation import spans_of
from mocoop.runs.trained_run import load_run
from mocoop.serve.session import answer_images
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.runs import BY_STEPS
from tests.training.test_ranks import must_be_alike, must_succeed

ROWS = ["TRAINER.VPT.PROMPT_DEPTH_VISION", "2", "TRAINER.MAPLE.PROMPT_DEPTH", "2", "TRAINER.MAPLE.N_CTX", "1"]
EXPERTS = ["VPT", "MaPLe"]


@pytest.fixture(scope="module")
def reference(runs):
    """A run's folder by the experts' method."""
    made = {name: over(runs, name) for name in EXPERTS}
    for run in made.values():
        ending = run.start()
        assert ending.status == 0, ending.err
    return {name: run.out for name, run in made.items()}


def over(runs, expert, *opts):
    return runs.new("Mixture", "TRAINER.MIXTURE.METHOD", expert, "MODEL.BACKBONE.NAME", "tiny-vit", *ROWS, *opts)


@pytest.mark.parametrize("expert", ["VPT", pytest.param("MaPLe", marks=pytest.mark.slow)])
def test_killed_and_gone_on_it_is_the_same_to_the_bit(runs, reference, expert):
    run = over(runs, expert, *BY_STEPS)
    assert run.start(training_steps(Moments(kill, at=23))).status == -signal.SIGKILL
    run.must_end_as(reference[expert])


@pytest.mark.parametrize("expert, count", [pytest.param("VPT", 2, marks=pytest.mark.slow), ("MaPLe", 3)])
def test_several_ranks_make_the_run_of_one(runs, reference, expert, count):
    run = over(runs, expert)
    must_succeed(run, count)
    must_be_alike(run.out, reference[expert])


@pytest.mark.parametrize("expert", EXPERTS)
def test_it_predicts_as_it_was_tested_and_other_classes_too(runs, reference, expert):
    folder = reference[expert]
    run, tested = load_run(folder), read_predictions(folder / "predictions.csv")
    images = [read_image(runs.data / path) for path in tested["path"]]
    said = run.predict(torch.stack([run.transform(image) for image in images]))
    assert said["logits"].argmax(-1).tolist() == tested["prediction"].tolist()
    names = [[run.group_names[e] for e in row] for row in said["experts"].tolist()]
    assert names == tested["experts"].tolist()
    answer = answer_images(run, images[:2])[0]
    assert len(answer.experts) == 9 and sum(expert.weight is not None for expert in answer.experts) == 2
    assert len(answer_images(run.with_classes(["red ring", "blue star"]), images[:1])[0].classes) == 2


def test_what_a_run_says_of_its_routing_and_what_it_refuses(reference, tmp_path):
    folder = reference["VPT"]
    routing, run = read_record(folder / "result.json")["routing"], load_run(folder)
    assert routing["top_k"] == 2 and "routers" not in routing
    assert router_blocks(pd.DataFrame({"routing": [routing]}), [1])[0].text == MISSING
    with pytest.raises(ConfigError, match="Mixture cannot be exported"):
        export_run(run, tmp_path / "export", onnx=False)
    with pytest.raises(ConfigError, match="VPT learns no context"):
        spans_of(run)
    spans = spans_of(load_run(reference["MaPLe"]))
    assert [(span.expert, span.words) for span in spans[:2]] == [("photo", ["a"]), ("blurry", ["a"])]
