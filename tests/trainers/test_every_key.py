"""Every key of the config with values that nobody means: a clean run, or one line and status 2."""

import itertools
from collections import defaultdict

import pytest
from yacs.config import CfgNode

import train
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg, methods
from tests.counts import count
from tests.trainers.test_train import command

SMALL = ["DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "1"]
BATCHES = ["DATALOADER.TRAIN_X.BATCH_SIZE", "4", "DATALOADER.TEST.BATCH_SIZE", "24", "DATALOADER.NUM_WORKERS", "0"]
VALUES = {"a word": "odd", "negative": "-1", "zero": "0", "huge": "1000000000", "infinite": "1e999", "nothing": "None"}
LISTS = {**VALUES, "negative": "(-1, -1, -1)", "zero": "(0, 0, 0)", "huge": "(1000000000,)"}


def default():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def places():
    """Where each key stands: what is declared once and stands in the nodes of several methods, in all of theirs."""
    shared = defaultdict(list)
    for entry in methods().values():
        for key in entry.keys:
            shared[key].append(f"TRAINER.{entry.node}.{key.name}")
    others = [[key] for key, _ in leaves(default()) if key.count(".") < 2 or not key.startswith("TRAINER.")]
    return [*others, *shared.values()]


def cases():
    """(key, kind of value, value) for all keys, of shared ones in turn; the trainer's name has tests of its own."""
    known = dict(leaves(default()))
    for stands in places():
        values = LISTS if isinstance(known[stands[0]], (list, tuple)) else VALUES
        for (kind, value), key in zip(values.items(), itertools.cycle(stands)):
            if key != "TRAINER.NAME":
                yield key, kind, value


CASES = list(cases())


def trainer_of(key):
    """The method whose key it is; MoCoOp for what all share."""
    nodes = {entry.node: name for name, entry in methods().items()}
    return nodes[key.split(".")[1]] if key.startswith("TRAINER.") else "MoCoOp"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("key, kind, value", CASES, ids=[f"{key}-{kind}" for key, kind, _ in CASES])
def test_a_value_runs_or_is_refused_in_one_line(runs, cache, tmp_path, monkeypatch, capsys, key, kind, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOCOOP_CACHE", str(cache))
    argv = command(runs.data, tmp_path / "out", trainer_of(key), *SMALL, *BATCHES, key, value)
    status = train.main(argv)
    errors = capsys.readouterr().err.splitlines()
    count("values of config keys", kind, **{"ran" if status == 0 else "refused": 1})
    assert status in (0, 2)
    if status == 2:
        assert [line for line in errors if line.startswith("error: ")] == errors[-1:]
        assert len(errors[-1]) < 600 and "Traceback" not in "".join(errors)


def test_all_keys_are_tried():
    assert {key for stands in places() for key in stands} == {key for key, _ in leaves(default())}
    assert len(CASES) == 6 * (len(places()) - 1)
