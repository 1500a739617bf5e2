"""Every registered method, through all that can be done with one. What a method cannot do, it says by name.

Killing and resuming each is in tests/faults/test_kills_in_training.py; exporting each in tests/export/test_export.py.
"""

from pathlib import Path

import pytest
import torch

import train
from mocoop import cli
from mocoop.backbone import load_clip
from mocoop.engine import DataManager, plain_transform
from mocoop.errors import ConfigError
from mocoop.methods import build_method, get_method, methods
from mocoop.registry import listed
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.runs.interpretation import Vocabulary, interpret
from mocoop.runs.trained_run import load_run
from mocoop.training import run_command
from mocoop.training.batches import reproducible
from mocoop.training.checkpoint import MODEL, load_checkpoint
from mocoop.training.features import RunFeatures
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision
from mocoop.training.optim import build_lr_scheduler, build_optimizer, iterations
from mocoop.training.run_state import set_random_seed
from tests.faults.outcomes import must_predict_as_tested
from tests.faults.runs import LOADED_ALIKE, METHODS, TRAINED_ALIKE

ROOT = Path(__file__).parents[2]


def evaluated(runs, tmp_path, name: str, *opts) -> Path:
    """The folder of an evaluation of the reference run."""
    flags = ["--eval-only", "--model-dir", str(runs.reference(name))] if name in METHODS else []
    run = runs.new(name, *opts, flags=flags)
    run.out = tmp_path / "evaluated"
    assert train.main(run.argv()) == 0
    return run.out


@pytest.fixture(scope="module", params=METHODS)
def name(request) -> str:
    """Each method in turn; all that is asked of one is asked in a row."""
    return request.param


@pytest.fixture(scope="module")
def reference(runs, name):
    """The folder of the method's undisturbed run."""
    return runs.reference(name)


@pytest.fixture(scope="module")
def run(reference):
    """It, loaded once; no test changes anything in it."""
    return load_run(reference)


def test_it_trains_and_is_compared_with_zero_shot(name, reference, run):
    record = read_record(reference / "result.json")
    assert (record["status"], record["method"]) == ("done", name)
    assert record["zero_shot"]["images"] > 0 and record["weights_sha256"]
    assert record["metrics"]["accuracy"] > 100 / 6  # chance
    assert record["knowledge"] == get_method(name).build.knowledge.fget(run.method)
    log = (reference / "log.txt").read_text()
    assert f"* accuracy: {record['metrics']['accuracy']:.1f}%" in log and "Finish training" in log


def test_it_is_tested_on_new_classes_or_says_what_binds_it(runs, tmp_path, monkeypatch, capsys, name, reference, run):
    """What binds it is tested on its own classes. A feature cache changes nothing in either."""
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    bound, base = run.method.bound_to_classes(), read_record(reference / "result.json")
    if bound:
        with pytest.raises(ConfigError, match=bound[:20]):
            run.with_classes(["red ring"])
    classes = "base" if bound else "new"
    out = evaluated(runs, tmp_path, name, "DATASET.SUBSAMPLE_CLASSES", classes, "TEST.FEATURE_CACHE", "True")
    assert ("nothing is cached" in capsys.readouterr().out) != run.method.takes_clip_features
    assert run.method.takes_clip_features != run.method.image_learns  # none has a map of its own behind the tower
    record = read_record(out / "result.json")
    assert (record["status"], record["num_classes"]) == ("done", 6)
    assert record["weights_sha256"] == base["weights_sha256"]
    assert record["epoch"] == base["epoch"] and (record["routing"] is not None) == bool(run.group_names)
    names, known = ([row["classname"] for row in each["per_class"]] for each in (record, base))
    assert names == known if bound else not {*names} & {*known}
    must_predict_as_tested(run if bound else run.with_classes(names), out, runs.data)


@pytest.mark.parametrize("name", ["ZeroshotCLIP", "CoOp", "CoCoOp", "MoCoOp"])
def test_base_and_new_images_are_tested_among_all_names(runs, tmp_path, name):
    """One test of one model; the sides are those of the predictions, and harder than each half by itself."""
    folder = evaluated(runs, tmp_path, name, "DATASET.SUBSAMPLE_CLASSES", "base+new")
    record, predictions = read_record(folder / "result.json"), read_predictions(folder / "predictions.csv")
    alone = read_record(runs.reference(name) / "result.json")
    assert (record["num_classes"], record["subsample_classes"]) == (12, "base+new")
    assert record["weights_sha256"] == alone["weights_sha256"]
    for side, of_side in (
        ("base", predictions[predictions["label"] < 6]),
        ("new", predictions[predictions["label"] > 5]),
    ):
        right = (of_side["label"] == of_side["prediction"]).mean()
        assert record["metrics"][f"{side}_accuracy"] == pytest.approx(100 * right)
    assert record["metrics"]["base_accuracy"] <= alone["metrics"]["accuracy"]
    assert set(predictions["prediction"]) > set(range(6))


def test_it_predicts_as_it_was_tested(runs, reference, run):
    must_predict_as_tested(run, reference, runs.data)


def test_plain_and_fast_encoders_agree(name, run):
    cfg = run.cfg.clone()
    cfg.defrost()
    get_method(name).settings(cfg).TEXT_ENCODER = "plain"
    plain = get_method(name).build(cfg, run.classnames, run.method.clip_model).eval()
    plain.load_learned_state(run.method.learned_state())
    plain.load_extra_state(run.method.extra_state())
    image = torch.randn(3, 3, *cfg.INPUT.SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(plain(image), run.method(image), atol=1e-3)  # of logits of up to 100


def test_its_context_is_interpreted_if_it_learns_one(name, run):
    try:
        found = list(interpret(run, Vocabulary(run.method.clip_model.token_embedding.weight), top=1))
    except ConfigError as error:
        assert str(error) == f"{name} learns no context: there is nothing to interpret"
    else:
        assert found and all(position.nearest for position in found)


def test_checkpoints_hold_what_is_learned_and_nothing_of_clip(reference):
    path = max((reference / MODEL).glob("model.pth.tar-*"))
    names = torch.load(path, weights_only=True)["state_dict"]
    assert names and not [key for key in names if key.startswith("clip_model")]


@pytest.mark.parametrize("name", list(listed()))
def test_its_keys_and_settings_are_documented(capsys, name):
    assert cli.main(["methods", name]) == 0
    said = capsys.readouterr().out
    for key in methods()[name].keys:
        assert f"TRAINER.{methods()[name].node}.{key.name} " in said and len(key.help) > 10
    assert list((ROOT / "configs/trainers" / name).glob("tiny*.yaml"))
    assert f"{name} " in (ROOT / "README.md").read_text() or f"## {name}" in (ROOT / "METHODS.md").read_text()


@pytest.mark.parametrize("name", TRAINED_ALIKE)
def test_a_loop_of_ones_own_makes_the_same_run(runs, name):
    """Of one method of each kind: what a loop does depends on nothing but what it asks a method for."""
    cfg = run_command.setup_cfg(train.parse_args(runs.new(name).argv()))
    set_random_seed(cfg.SEED)
    data = DataManager(cfg)
    kind = get_method(name).build
    plain = plain_transform(cfg) if kind.plain_view else None
    batches = (iterations(cfg) > 0, kind.views, kind.one_class_batches, plain)
    loader = reproducible(data.train_loader_x, cfg.SEED, *batches)
    dataset, epochs, steps = data.dataset, cfg.OPTIM.MAX_EPOCH, iterations(cfg, len(loader))
    method = build_method(cfg, dataset.classnames, load_clip(cfg), dataset.all_classnames).train()
    precision = Precision("fp32", torch.device("cpu"))
    features = RunFeatures(cfg, method, precision, loader, data.test_loader, dataset.val, StopRequest())
    method.fit(features)
    if method.takes_steps:
        optimizer = build_optimizer(method.parameter_groups(cfg.OPTIM.LR), cfg.OPTIM)
        scheduler = build_lr_scheduler(optimizer, cfg.OPTIM, steps, method.stages)
    for epoch in range(epochs if method.takes_steps else 0):
        loader.batch_sampler.start_at(epoch)
        for batch in loader:
            if scheduler.stage != method.stage:
                method.start_stage(scheduler.stage)
            optimizer.zero_grad()
            method.backward(method.loss(batch["img"], batch["label"]))
            optimizer.step()
            method.after_step()
            if steps:
                scheduler.step()
        if not steps:
            scheduler.step()
        method.after_epoch(epoch + 1, epochs)
    method.select(features)
    expected = load_checkpoint(runs.reference(name) / MODEL / f"model.pth.tar-{epochs}")["state_dict"]
    for key, value in method.learned_state().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name, workers", [("CoOp", 1), *((name, 2) for name in LOADED_ALIKE)])
def test_loader_workers_change_nothing(runs, name, workers):
    """Of one method of each kind of batches: workers know nothing else of a method."""
    runs.new(name, "DATALOADER.NUM_WORKERS", workers).must_end_as_if_nothing_had_happened()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_whole_run_of_the_plain_encoders_ends_near_the_fast_one(runs, name):
    run = runs.new(name, f"TRAINER.{get_method(name).node}.TEXT_ENCODER", "plain")
    assert run.start().status == 0
    plain, fast = (load_checkpoint(out / MODEL / "model.pth.tar-4") for out in (run.out, runs.reference(name)))
    for key, value in fast["state_dict"].items():
        assert torch.allclose(plain["state_dict"][key], value, rtol=1e-2, atol=1e-4), key
