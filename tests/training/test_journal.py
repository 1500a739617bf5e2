"""With a wandb that only takes notes."""

import sys
import types

import pytest
from yacs.config import CfgNode

from mocoop.errors import ConfigError
from mocoop.training.journal import start_wandb


def config(project=""):
    named = {"TRAINER": {"NAME": "MoCoOp"}, "DATASET": {"NAME": "Pets", "NUM_SHOTS": 16}, "SEED": 2}
    return CfgNode(named | {"TRAIN": {"WANDB": project}, "INPUT": {"SIZE": (64, 64)}})


class Notes:
    """Stands for the module wandb and for its run."""

    def __init__(self):
        self.calls = []

    def init(self, **options):
        self.calls.append(("init", options))
        return self

    def define_metric(self, name, step_metric=None):
        self.calls.append(("define", name, step_metric))

    def log(self, values):
        self.calls.append(("log", values))

    def finish(self):
        self.calls.append(("finish",))


@pytest.fixture
def notes(monkeypatch):
    notes = Notes()
    module = types.ModuleType("wandb")
    module.init = notes.init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return notes


@pytest.mark.parametrize("cfg", [config(), CfgNode({"TRAIN": {}})])
def test_off_by_default_and_not_imported(monkeypatch, tmp_path, cfg):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    assert start_wandb(cfg, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_values_are_logged_with_a_step_for_each_section(notes, tmp_path):
    log = start_wandb(config("prompts"), tmp_path)
    log.scalar("train/loss", 2.5, 0)
    log.scalar("train/acc", 50.0, 0)
    log.scalar("test/accuracy", 80.0, 5)
    log.close()
    (_, options), *rest = notes.calls
    assert (options["project"], options["name"]) == ("prompts", "MoCoOp Pets 16 shots seed 2")
    assert options["dir"] == str(tmp_path) and options["config"]["INPUT"]["SIZE"] == [64, 64]
    assert rest == [
        ("define", "train/step", None),
        ("define", "train/*", "train/step"),
        ("log", {"train/loss": 2.5, "train/step": 0}),
        ("log", {"train/acc": 50.0, "train/step": 0}),
        ("define", "test/step", None),
        ("define", "test/*", "test/step"),
        ("log", {"test/accuracy": 80.0, "test/step": 5}),
        ("finish",),
    ]


def test_a_run_that_goes_on_stays_one_run(notes, tmp_path):
    for _ in range(2):
        start_wandb(config("prompts"), tmp_path / "a").close()
    start_wandb(config("prompts"), tmp_path / "b").close()
    ids = [call[1]["id"] for call in notes.calls if call[0] == "init"]
    assert ids[0] == ids[1] != ids[2]


def test_a_missing_package_and_a_missing_login_are_one_line(notes, monkeypatch, tmp_path):
    def refuse(**options):
        raise RuntimeError("api_key not configured\n(no-tty)")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    message = r"cannot be started \(api_key not configured \(no-tty\)\): run `wandb login`"
    with pytest.raises(ConfigError, match=message):
        start_wandb(config("prompts"), tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match='TRAIN.WANDB is "prompts", but wandb cannot be imported .*pip install wandb'):
        start_wandb(config("prompts"), tmp_path)
