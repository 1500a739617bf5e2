"""Every registered method, through all that can be done with one. What a method cannot do, it says by name.

Killing and resuming each is in tests/faults/test_kills_in_training.py; exports are run in tests/export.
"""

import copy
import json
from pathlib import Path

import pytest
import torch

import train
from mocoop import cli
from mocoop.backbone import load_clip
from mocoop.engine import DataManager, plain_transform
from mocoop.errors import ConfigError
from mocoop.export import export_run
from mocoop.images import read_image
from mocoop.methods import build_method, get_method, methods
from mocoop.registry import listed
from mocoop.results.csv_files import read_predictions
from mocoop.results.record import read_record
from mocoop.runs.trained_run import load_run
from mocoop.training import run_command
from mocoop.training.batches import reproducible
from mocoop.training.checkpoint import MODEL, load_checkpoint
from mocoop.training.features import RunFeatures
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision
from mocoop.training.optim import build_lr_scheduler, build_optimizer, iterations
from mocoop.training.run_state import set_random_seed
from tests.faults.outcomes import differences

ROOT = Path(__file__).parents[2]
LEARNING = [name for name, method in listed().items() if method.learns]


def evaluated(runs, tmp_path, name: str, *opts) -> Path:
    """The folder of an evaluation of the reference run."""
    flags = ["--eval-only", "--model-dir", str(runs.reference(name))] if name in LEARNING else []
    run = runs.new(name, *opts, flags=flags)
    run.out = tmp_path / "evaluated"
    assert train.main(run.argv()) == 0
    return run.out


@pytest.mark.parametrize("name", LEARNING)
def test_it_trains_and_is_compared_with_zero_shot(runs, name):
    record = read_record(runs.reference(name) / "result.json")
    assert (record["status"], record["method"]) == ("done", name)
    assert record["zero_shot"]["images"] > 0 and record["weights_sha256"]
    assert record["metrics"]["accuracy"] > 100 / 6  # chance
    untrained = get_method(name).build
    assert record["knowledge"] == untrained.knowledge.fget(load_run(runs.reference(name)).method)


@pytest.mark.parametrize("name", LEARNING)
def test_it_is_tested_on_new_classes_or_says_what_binds_it(runs, tmp_path, name):
    run = load_run(runs.reference(name))
    if bound := run.method.bound_to_classes():
        with pytest.raises(ConfigError, match=bound[:20]):
            run.with_classes(["red ring"])
        return
    record = read_record(evaluated(runs, tmp_path, name, "DATASET.SUBSAMPLE_CLASSES", "new") / "result.json")
    base = read_record(runs.reference(name) / "result.json")
    assert (record["status"], record["num_classes"]) == ("done", 6)
    assert record["weights_sha256"] == base["weights_sha256"]
    assert not {row["classname"] for row in record["per_class"]} & {row["classname"] for row in base["per_class"]}


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


@pytest.mark.parametrize("name", list(listed()))
def test_the_feature_cache_changes_nothing(runs, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))
    out = evaluated(runs, tmp_path, name, "TEST.FEATURE_CACHE", "True")
    cached, plain = (read_predictions(folder / "predictions.csv") for folder in (out, runs.reference(name)))
    assert cached["prediction"].tolist() == plain["prediction"].tolist()
    assert cached["confidence"].tolist() == pytest.approx(plain["confidence"].tolist(), abs=2e-4)
    method = load_run(runs.reference(name)).method
    assert ("nothing is cached" in capsys.readouterr().out) != method.takes_clip_features
    assert method.takes_clip_features != method.image_learns  # none of these has a map of its own behind the tower


@pytest.mark.parametrize("name", LEARNING)
def test_it_predicts_as_it_was_tested(runs, name):
    run = load_run(runs.reference(name))
    tested = read_predictions(runs.reference(name) / "predictions.csv")
    images = torch.stack([run.transform(read_image(runs.data / path)) for path in tested["path"]])
    predicted = run.predict(images)["logits"].softmax(-1)
    assert predicted.argmax(-1).tolist() == tested["prediction"].tolist()
    assert predicted.amax(-1).tolist() == pytest.approx(tested["confidence"].tolist(), abs=2e-4)


@pytest.mark.parametrize("name", LEARNING)
def test_plain_and_fast_encoders_agree(runs, name):
    fast = load_run(runs.reference(name))
    cfg = fast.cfg.clone()
    cfg.defrost()
    get_method(name).settings(cfg).TEXT_ENCODER = "plain"
    build, torch_state = get_method(name).build, fast.method.learned_state()
    plain = build(cfg, fast.classnames, copy.deepcopy(fast.method.clip_model)).eval()
    plain.load_learned_state(torch_state)
    plain.load_extra_state(fast.method.extra_state())
    image = torch.randn(3, 3, *cfg.INPUT.SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(plain(image), fast.method(image), atol=1e-3)  # of logits of up to 100


@pytest.mark.parametrize("name", LEARNING)
def test_it_is_exported_or_refused_by_name(runs, tmp_path, name):
    run = load_run(runs.reference(name))
    try:
        written = export_run(run, tmp_path / "export", onnx=False)
    except ConfigError as error:
        assert name in str(error)
        return
    description = json.loads((tmp_path / "export/model.json").read_text())
    assert description["method"] == name and all(path.is_file() for path in written)


@pytest.mark.parametrize("name", LEARNING)
def test_its_context_is_interpreted_if_it_learns_one(runs, capsys, name):
    capsys.readouterr()
    status = cli.main(["interpret", str(runs.reference(name)), "--top", "1"])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "") or (status, said.err) == (
        2,
        f"error: {name} learns no context: there is nothing to interpret\n",
    )


@pytest.mark.parametrize("name", list(listed()))
def test_its_keys_and_settings_are_documented(capsys, name):
    assert cli.main(["methods", name]) == 0
    said = capsys.readouterr().out
    for key in methods()[name].keys:
        assert f"TRAINER.{methods()[name].node}.{key.name} " in said and len(key.help) > 10
    assert list((ROOT / "configs/trainers" / name).glob("tiny*.yaml"))
    assert f"{name} " in (ROOT / "README.md").read_text() or f"## {name}" in (ROOT / "METHODS.md").read_text()


def test_checkpoints_hold_what_is_learned_and_nothing_of_clip(runs):
    for name in LEARNING:
        path = max((runs.reference(name) / MODEL).glob("model.pth.tar-*"))
        names = torch.load(path, weights_only=True)["state_dict"]
        assert names and not [key for key in names if key.startswith("clip_model")], name


@pytest.mark.parametrize("name", LEARNING)
def test_a_loop_of_ones_own_makes_the_same_run(runs, name):
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


@pytest.mark.parametrize("name", LEARNING)
def test_loader_workers_change_nothing(runs, name):
    run = runs.new(name, "DATALOADER.NUM_WORKERS", "2")
    assert run.start().status == 0
    assert differences(run.out, runs.reference(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_a_whole_run_of_the_plain_encoders_ends_near_the_fast_one(runs, name):
    run = runs.new(name, f"TRAINER.{get_method(name).node}.TEXT_ENCODER", "plain")
    assert run.start().status == 0
    plain, fast = (load_checkpoint(out / MODEL / "model.pth.tar-4") for out in (run.out, runs.reference(name)))
    for key, value in fast["state_dict"].items():
        assert torch.allclose(plain["state_dict"][key], value, rtol=1e-2, atol=1e-4), key
