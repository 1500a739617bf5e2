"""Every key of the config with values that nobody means: a clean run, or one line and status 2."""

import itertools
from collections import defaultdict

import pytest
from yacs.config import CfgNode

import train
from mocoop.config import leaves
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg, methods
from tests.counts import count
from tests.shipped import counts_iterations
from tests.trainers.test_train import command

SMALL = ["DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "1"]
BATCHES = ["DATALOADER.TRAIN_X.BATCH_SIZE", "4", "DATALOADER.TEST.BATCH_SIZE", "24", "DATALOADER.NUM_WORKERS", "0"]
SHORT = {  # of methods that fit in many rounds
    "CLAP": ["TRAINER.CLAP.EPOCHS", "2", "TRAINER.CLAP.VIEWS", "2"],
    "LPPlusPlus": ["TRAINER.LP_PLUS_PLUS.ITERATIONS", "10"],
}
VALUES = {"a word": "odd", "negative": "-1", "zero": "0", "huge": "1000000000", "infinite": "1e999", "nothing": "None"}
LISTS = {**VALUES, "negative": "(-1, -1, -1)", "zero": "(0, 0, 0)", "huge": "(1000000000,)"}


def default():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


KNOWN = dict(leaves(default()))


def places():
    """Where each key stands: what is declared once and stands in the nodes of several methods, in all of theirs."""
    shared = defaultdict(list)
    for entry in methods().values():
        for key in entry.keys:
            shared[key].append(f"TRAINER.{entry.node}.{key.name}")
    others = [[key] for key in KNOWN if key.count(".") < 2 or not key.startswith("TRAINER.")]
    return [*others, *shared.values()]


PLACES = [stands for stands in places() if stands != ["TRAINER.NAME"]]  # the trainer's name has tests of its own


def trainer_of(key):
    """The method whose key it is; CoOp for what all share."""
    nodes = {entry.node: name for name, entry in methods().items()}
    return nodes[key.split(".")[1]] if key.startswith("TRAINER.") else "CoOp"


def settings_of(name):
    length = ["OPTIM.MAX_ITER", "2"] if counts_iterations(name) else []
    return [*SMALL, *BATCHES, *length, *SHORT.get(name, [])]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def looked_up(runs, tmp_path_factory):
    """The names of all settings and nodes that a run of CoOp looks up, from its start to its end."""
    names = set()

    def noting(look_up):
        def noted(node, name, *default):
            names.add(name)
            return look_up(node, name, *default)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCOOP_CACHE", "off")
        for how in ("__getattr__", "__getitem__", "get"):
            patch.setattr(CfgNode, how, noting(getattr(CfgNode, how)))
        assert train.main(command(runs.data, tmp_path_factory.mktemp("run"), "CoOp", *settings_of("CoOp"))) == 0
    return names


@pytest.mark.parametrize("stands", PLACES, ids=lambda stands: stands[0])
def test_values_run_or_are_refused_in_one_line(runs, cache, looked_up, tmp_path, monkeypatch, capsys, stands):
    """Each kind of value; of a key that several methods have, for one after the other of them.

    With a value that no run of CoOp looks up the run is built and not trained: what follows cannot depend on it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOCOOP_CACHE", str(cache))
    if stands == ["DATASET.ROOT"]:
        (tmp_path / "odd").symlink_to(runs.data)  # else all of ShapesBoth would be drawn there
    values = LISTS if isinstance(KNOWN[stands[0]], (list, tuple)) else VALUES
    for (kind, value), key in zip(values.items(), itertools.cycle(stands)):
        name = trainer_of(key)
        flags = [] if name != "CoOp" or key.rpartition(".")[2] in looked_up else ["--no-train"]
        argv = command(runs.data, tmp_path / f"out {kind}", name, *flags, *settings_of(name), key, value)
        status = train.main(argv)
        errors = capsys.readouterr().err.splitlines()
        count("values of config keys", kind, **{"ran" if status == 0 else "refused": 1})
        assert status in (0, 2), (key, value)
        if status == 2:
            assert [line for line in errors if line.startswith("error: ")] == errors[-1:], (key, value)
            assert len(errors[-1]) < 600 and "Traceback" not in "".join(errors), (key, value)


def test_all_keys_are_tried():
    assert {key for stands in places() for key in stands} == KNOWN.keys()
    assert len(PLACES) == len(places()) - 1
