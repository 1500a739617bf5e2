"""`mocoop transduce` on finished runs: what it computes again, what it leaves behind, what it refuses."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

import train
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.runs.scores import FinishedRun, compute_scores, open_finished, scores_of
from mocoop.transduce.apply import Batches, OnTop
from mocoop.transduce.clusters import TransCLIP
from tests.tools.tool import Tool
from tests.trained import arguments, forget_print_handler


@pytest.fixture
def run_of(trained_runs, tmp_path):
    """A copy of a small run, to be written to."""
    return lambda name: shutil.copytree(trained_runs.of(name), tmp_path / name)


@pytest.fixture
def transduce(capsys):
    return Tool("transduce", capsys)


@pytest.mark.parametrize("name", ["zeroshot", "mocoop", "mmrl"])
def test_scores_are_those_of_the_run_s_test(trained_runs, name):
    run = FinishedRun.read(trained_runs.of(name))
    scores = scores_of(run)
    confidence, prediction = scores.logits.double().softmax(-1).max(-1)
    assert np.array_equal(prediction, run.answers["prediction"])
    assert np.allclose(confidence, run.answers["confidence"], atol=2e-6)
    images, classes, width = len(run.answers), len(run.classnames), scores.features.shape[1]
    assert (scores.features.shape, scores.prototypes.shape) == ((images, width), (classes, width))
    for rows in (scores.features, scores.prototypes):
        assert np.allclose(rows.norm(dim=-1), 1, atol=1e-6)


def test_a_test_of_another_run_s_model_on_new_classes(trained_runs, tmp_path, transduce):
    model, out = trained_runs.of("coop"), tmp_path / "new"
    flags = ["--eval-only", "--model-dir", str(model), "DATASET.SUBSAMPLE_CLASSES", "new"]
    argv = arguments(trained_runs.data_root, out, "coop", *flags[:3])
    argv[argv.index("base")] = "new"
    assert train.main(argv) == 0
    forget_print_handler()
    run = FinishedRun.read(out)
    assert run.classnames == open_finished(run).classnames
    assert transduce(out, "--with", "transclip")[0] == 0
    moved = json.loads((out / "result.json").read_text())
    moved["command"]["model_dir"] = "/gone"
    (out / "result.json").write_text(json.dumps(moved))
    status, _, err = transduce(out, "--with", "transclip", "--force")
    assert status == 2 and "tested the model of /gone, which is not there: say where it is with --model" in err
    assert transduce(out, "--with", "transclip", "--force", "--model", model)[0] == 0


def test_the_record_says_what_was_seen_together(run_of, transduce):
    folder = run_of("coop")
    argv = (folder, "--with", "stata", "--batch", 16, "--classes-in-batch", 3, "--order", "1,2", "--set", "alpha=2")
    status, out, _ = transduce(*argv, "--keep-scores")
    assert status == 0 and "| CoOp on ShapesBoth, base classes, seed 1 |" in out
    assert "16 at a time, of 3 classes, without their labels" in out and "over 2 orders" in out
    kept = folder / "transduced/stata_16_classes3_alpha2.0"
    before = read_record(folder / "result.json")
    for order in (1, 2):
        record = read_record(kept / f"order{order}/result.json")
        answers = read_predictions(kept / f"order{order}/predictions.csv")
        said = record["transduction"]
        assert (said["with"], said["batch"], said["order"], said["classes_asked"]) == ("stata", 16, order, 3)
        assert said["settings"] == {"alpha": 2.0, "rounds": 10, "neighbours": 3, "counts": "soft"}
        assert said["accuracy_of_run"] == before["metrics"]["accuracy"]
        sizes, classes = answers.groupby("batch")["label"].agg(["size", "nunique"]).to_numpy().T
        assert sizes.max() <= 16 and said["batches"] == len(sizes)
        assert said["classes_in_batch"] == [classes.min(), classes.mean(), classes.max()] and classes.max() == 3
        assert "the test images, 16 at a time, of 3 classes" in record["knowledge"]
        right = 100 * (answers["label"] == answers["prediction"]).mean()
        assert record["metrics"]["accuracy"] == pytest.approx(right)
        same = ("method", "seed", "weights_sha256", "test_sha256", "split", "config_sha256")
        assert [record[key] for key in same] == [before[key] for key in same]
    status, _, err = transduce(*argv)
    assert status == 2 and "is not overwritten" in err


def test_batches_know_nothing_of_each_other(trained_runs):
    scores = scores_of(FinishedRun.read(trained_runs.of("zeroshot")))
    found = OnTop("transclip", {}, Batches(40))(scores, 5)
    for number, batch in enumerate(found.batches):
        expected = TransCLIP()(scores.features[batch], scores.logits[batch])
        assert np.allclose(found.logits[batch], expected, atol=1e-12)
        assert np.array_equal(found.batch[batch], np.full(len(batch), number))
        assert np.array_equal(found.place[batch], np.arange(len(batch)))


def test_online_methods_see_one_image_after_the_other(run_of, transduce):
    folder = run_of("zeroshot")
    assert transduce(folder, "--with", "tda", "--order", "3,4")[0] == 0
    orders = [read_predictions(folder / f"transduced/tda/order{order}/predictions.csv") for order in (3, 4)]
    for answers in orders:
        assert sorted(answers["batch"]) == list(range(len(answers)))
    assert orders[0]["batch"].tolist() != orders[1]["batch"].tolist()
    assert read_record(folder / "transduced/tda/order3/result.json")["transduction"]["classes_in_batch"] == [1, 1, 1]


def test_scores_that_were_kept_are_used_as_long_as_they_are_the_run_s(run_of, transduce, monkeypatch, caplog):
    folder = run_of("coop")
    run = FinishedRun.read(folder)
    fresh = scores_of(run, keep=True)
    assert set(load_file(folder / "scores.safetensors")) == {"features", "logits", "labels", "prototypes"}
    monkeypatch.setattr("mocoop.runs.scores.compute_scores", lambda *_: pytest.fail("computed again"))
    assert all(value.equal(getattr(fresh, name)) for name, value in vars(scores_of(run)).items())
    monkeypatch.setattr("mocoop.runs.scores.compute_scores", compute_scores)
    other = FinishedRun(run.folder, run.record, run.answers[::-1].reset_index(drop=True))
    assert scores_of(other).logits.flip(0).allclose(fresh.logits, atol=1e-4)
    assert "is of another test than the run's and computed again" in caplog.text
    (folder / "scores.safetensors").write_bytes(b"no tensors")
    assert scores_of(run).logits.allclose(fresh.logits)
    assert "is damaged and computed again" in caplog.text


def test_other_images_than_the_run_was_tested_with_are_noticed(run_of, transduce, trained_runs, tmp_path):
    folder = run_of("zeroshot")
    data = tmp_path / "data"
    paths = read_predictions(folder / "predictions.csv")["path"].tolist()
    for path, other in zip(paths, paths[40:] + paths[:40]):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained_runs.data_root / other, data / path)
    status, _, err = transduce(folder, "--with", "transclip", "--root", data)
    assert status == 2 and "% of the answers are not those of its predictions.csv" in err


@pytest.mark.parametrize("argv, message", [
    (["--with", "tpt"], "got --with 'tpt', expected one of transclip, stata, tda"),
    (["--with", "tda", "--batch", "8"], "got --batch 8 with tda, which sees one image after the other"),
    (["--with", "transclip", "--order", "1"], "got --order, expected --batch N with it"),
    (["--with", "transclip", "--set", "alpha=1"], "expected one of rounds, neighbours, anchor for transclip"),
    (["--with", "transclip", "--set", "anchor=free"], "expected anchor to be fixed or moving"),
    (["--with", "stata", "--set", "rounds=1.5"], "expected rounds to be a whole number from 1"),
    (["--with", "tda", "--set", "alpha=nan"], "expected alpha to be a number from 0"),
])  # fmt: skip
def test_what_is_refused_before_anything_is_computed(transduce, argv, message, tmp_path):
    status, _, err = transduce(tmp_path, *argv)
    assert status == 2 and message in err


def test_a_folder_without_a_finished_run(transduce, tmp_path):
    status, _, err = transduce(tmp_path, "--with", "tda")
    assert status == 2 and "no result.json, the run did not finish" in err
