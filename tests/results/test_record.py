import json

import pytest
from yacs.config import CfgNode

from mocoop.errors import DataError
from mocoop.results.record import (
    config_differences,
    config_sha256,
    glance,
    plain_config,
    read_record,
    unfinished_record,
    validate_record,
    write_record,
)
from tests.results.runs import make_config, make_record


def test_a_record_comes_back_as_written(tmp_path):
    """In plain JSON; one that is invalid is not written over a good one."""
    path, record = tmp_path / "result.json", make_record(81.234)
    write_record(path, record)
    assert read_record(path) == record and '"status": "done"' in path.read_text()
    json.loads(path.read_text(), parse_constant=pytest.fail)
    with pytest.raises(DataError):
        write_record(path, make_record(41.0) | {"seed": None})
    assert read_record(path) == record


def test_identity_is_read_from_the_configuration():
    record = make_record(config=CfgNode(make_config(method="MoCoOp", shots=4, seed=7, classes="new")))
    assert (record["method"], record["shots"], record["seed"]) == ("MoCoOp", 4, 7)
    assert (record["dataset"], record["backbone"], record["subsample_classes"]) == ("ShapesBoth", "tiny", "new")
    assert type(record["config"]) is dict and type(record["config"]["DATASET"]) is dict
    assert record["num_classes"] == 1 and record["num_test"] == 10000
    config = make_config()
    del config["DATASET"]["SUBSAMPLE_CLASSES"]
    assert make_record(config=config)["subsample_classes"] == "all"
    assert plain_config(CfgNode({"A": {"B": (1, 2)}})) == {"A": {"B": [1, 2]}}


def test_hash_sees_every_setting_but_the_seed_and_where_things_lie():
    """A file of weights counts by its name."""
    here = make_config(seed=1, root="/data", output="/output/a", backbone="/home/me/clip.pt")
    there = make_config(seed=2, root="/mnt/sets", output="b", backbone="/srv/clip.pt")
    assert config_sha256(here) == config_sha256(there)
    assert config_sha256(make_config(backbone="/srv/other.pt")) != config_sha256(there)
    there["OPTIM"]["LR"] = 0.003
    assert config_sha256(there) != config_sha256(here)


def settings_of(method: str, **nodes: dict) -> dict:
    config = make_config(method=method)
    config["TRAINER"] |= {"COOP": {"N_CTX": 16}, "KGCOOP": {"W": 8.0}, "MOCOOP": {"TOP_K": 2, "GROUPS": []}} | nodes
    config["DATASET"] |= {"FOLDER": {"CSV": ""}}
    config["DATALOADER"] = {"TRAIN_U": {"BATCH_SIZE": 32}, "TRAIN_X": {"BATCH_SIZE": 4}}
    return config


@pytest.mark.parametrize(
    "method, nodes, key, counts",
    [
        ("CoOp", {}, "TRAINER.MOCOOP.TOP_K", False),
        ("CoOp", {}, "TRAINER.MOCOOP.GROUPS", False),
        ("CoOp", {}, "TRAINER.COOP.N_CTX", True),
        ("MoCoOp", {}, "TRAINER.MOCOOP.GROUPS", True),
        ("DePT", {"DEPT": {"BASE": "KgCoOp"}}, "TRAINER.KGCOOP.W", True),
        ("DePT", {"DEPT": {"BASE": "KgCoOp"}}, "TRAINER.COOP.N_CTX", False),
        ("Plugin", {"MINE": {"A": 1}}, "TRAINER.MINE.A", True),
        ("Plugin", {"MINE": {"BASE": "CoOp"}}, "TRAINER.COOP.N_CTX", True),
        ("Plugin", {}, "TRAINER.MOCOOP.TOP_K", False),
        ("CoOp", {"MINE": {"A": 1}}, "TRAINER.MINE.A", False),
        ("ZeroshotCLIP", {}, "OPTIM.LR", False),
        ("ZeroshotCLIP", {}, "DATALOADER.TRAIN_X.BATCH_SIZE", False),
        ("CoOp", {}, "DATALOADER.TRAIN_X.BATCH_SIZE", True),
        ("CoOp", {}, "DATALOADER.TRAIN_U.BATCH_SIZE", False),
        ("CoOp", {}, "DATASET.FOLDER.CSV", False),
    ],
)
def test_what_the_run_does_not_read_is_no_other_setting(method, nodes, key, counts):
    """Neither in the hash nor in the differences for which a finished run is refused."""
    here, there = settings_of(method, **nodes), settings_of(method, **nodes)
    *path, name = key.split(".")
    node = there
    for part in path:
        node[part] = dict(node[part])
        node = node[part]
    node[name] = 0.5
    assert (config_sha256(here) != config_sha256(there)) == counts
    assert [line.split(" was ")[0] for line in config_differences(here, there)] == ([key] if counts else [])


def test_an_evaluation_does_not_read_what_only_training_does_and_own_images_read_their_node():
    here, there = settings_of("CoOp"), settings_of("CoOp")
    there["OPTIM"] = {"LR": 9.0}
    assert config_sha256(here, trains=False) == config_sha256(there, trains=False)
    assert config_differences(here, there, trains=False) == [] != config_differences(here, there)
    there["OPTIM"] = here["OPTIM"]
    for config, name in ((here, "a.csv"), (there, "b.csv")):
        config["DATASET"] |= {"NAME": "Folder", "FOLDER": {"CSV": name}}
    assert config_differences(here, there) == ["DATASET.FOLDER.CSV was 'a.csv', got 'b.csv'"]


def test_a_running_and_a_failed_run_are_recorded_too(tmp_path):
    for status, error in (("running", None), ("failed", "no data")):
        write_record(tmp_path / "result.json", unfinished_record(make_config(), status, error))
        record = read_record(tmp_path / "result.json")
        assert (record["status"], record["error"], record["method"]) == (status, error, "CoOp")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "got format 2, expected 1"),
        ({"seed": "1"}, "got seed = '1', expected int"),
        ({"metrics": {"accuracy": 130.0}}, "got accuracy = 130.0, expected a percentage"),
        ({"epoch": "ten"}, "got epoch = 'ten', expected int or null"),
        ({"seconds": {"train": "x"}}, "seconds: got train = 'x', expected int or float or null"),
        ({"knowledge": "words"}, "got knowledge = 'words', expected list"),
        ({"weights_sha256": 7}, "got weights_sha256 = 7, expected str"),
        ({"command": ["train"]}, r"got command = \['train'\], expected dict"),
        ({"command": {"eval_only": {}}}, "command: got eval_only = {}, expected bool or int or str or null"),
        ({"precision": "fp32"}, "got precision = 'fp32', expected dict"),
        ({"zero_shot": {"below": "x"}}, "zero_shot: got below = 'x', expected bool or int or float or null"),
        ({"train_per_class": [1, "2"]}, r"got train_per_class\[1\] = '2', expected int"),
        ({"metrics": {}}, "metrics: got no field 'accuracy'"),
    ],
)
def test_a_wrong_field_is_named(change, message):
    with pytest.raises(DataError, match=message):
        validate_record(make_record() | change, "here/result.json")


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "not a readable record"),
        ("{", "not a readable record of a run .*; remove it and run again"),
        ("[]", "got format list, expected 1"),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, text, message):
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"result.json: {message}"):
        read_record(path)


def test_a_glance_finds_the_seconds_of_a_long_record(tmp_path):
    record = make_record()
    record["per_class"] = [record["per_class"][0] | {"label": n} for n in range(500)]
    write_record(tmp_path / "new.json", record)
    write_record(tmp_path / "old.json", {"format": 1, "status": "done", "seconds": record["seconds"], **record})
    assert glance(tmp_path / "new.json") == glance(tmp_path / "old.json") == ("done", 3.0)
