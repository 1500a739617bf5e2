"""Merging yaml files and overrides: all that is wrong at once, in words a person can act on."""

import pytest
from yacs.config import CfgNode

from mocoop.config import fill, merge_file, merge_overrides, read_settings
from mocoop.engine import get_cfg_default
from mocoop.errors import ConfigError
from mocoop.methods import extend_cfg, get_method


def default():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def test_a_node_that_is_there_gets_the_keys_that_it_lacks_and_keeps_its_values():
    cfg = CfgNode({"TRAINER": {"COOP": {"N_CTX": 5}}})
    get_method("CoOp").add_keys(cfg)
    assert (cfg.TRAINER.COOP.N_CTX, cfg.TRAINER.COOP.CSC, cfg.TRAINER.COOP.PREC) == (5, False, "fp16")
    cfg = default()
    values = ["OPTIM.EPS", 1e-3, "TEST.PREC", "train", "MODEL.BACKBONE.CHECK_INPUT", False, "DATASET.FOLDER.CSV", "a"]
    cfg.merge_from_list([*values, "TRAINER.COOP.N_CTX", 4])
    before = cfg.clone()
    extend_cfg(cfg)
    assert cfg == before


def test_yaml_and_overrides_take_effect_and_keep_types(tmp_path):
    yaml_files(
        tmp_path, a='OPTIM: {WARMUP_CONS_LR: 1e-5}\nINPUT: {SIZE: "(64, 64)"}\nTRAINER: {MOCOOP: {GROUPS: [["a {}."]]}}'
    )
    cfg = default()
    merge_file(cfg, str(tmp_path / "a.yaml"))
    merge_overrides(cfg, ["OPTIM.LR", "0.1", "DATASET.NUM_SHOTS", "4", "TRAINER.COOP.CSC", "True"])
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-5 and cfg.INPUT.SIZE == (64, 64)
    assert [list(group) for group in cfg.TRAINER.MOCOOP.GROUPS] == [["a {}."]]
    assert (cfg.OPTIM.LR, cfg.DATASET.NUM_SHOTS, cfg.TRAINER.COOP.CSC) == (0.1, 4, True)


def test_all_wrong_keys_and_values_at_once(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("OPTIM:\n  LRR: 0.1\n  MAX_EPOCH: many\nTRAINR:\n  NAME: CoOp\nDATASET:\n  NUM_SHOTS: 4\n")
    cfg = default()
    with pytest.raises(ConfigError) as error:
        merge_file(cfg, str(path))
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert "unknown key OPTIM.LRR (did you mean OPTIM.LR?)" in message
    assert "OPTIM.MAX_EPOCH cannot be 'many'" in message
    assert "unknown key TRAINR.NAME (did you mean TRAINER.NAME?)" in message


@pytest.mark.parametrize(
    "words, message",
    [
        (["FOO", "1", "OPTIM.BAR", "2"], "unknown key FOO.*unknown key OPTIM.BAR"),
        (["OPTIM.LR"], "odd number of words: OPTIM.LR"),
        (["OPTIM", "1"], "unknown key OPTIM"),
        (["OPTIM.LR", "True"], "OPTIM.LR cannot be"),
        ([word for i in range(100) for word in (f"NO_{i}", "1")], "unknown key NO_7.*; and 92 more$"),
        (["SEED", "1 if 1 else " * 5000 + "2"], "command line: SEED cannot be"),
    ],
    ids=range(6),
)
def test_wrong_overrides_are_one_line(words, message):
    with pytest.raises(ConfigError, match=message) as caught:
        merge_overrides(default(), words)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_missing_and_malformed_files(tmp_path):
    (tmp_path / "tiny.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="tiny.yaml is not valid yaml"):
        merge_file(default(), str(tmp_path / "tiny.yaml"))
    with pytest.raises(ConfigError, match="no config file .*tinny.yaml, did you mean tiny.yaml"):
        merge_file(default(), str(tmp_path / "tinny.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds a list"):
        merge_file(default(), str(tmp_path / "list.yaml"))


def yaml_files(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_file_is_merged_over_its_bases(tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    yaml_files(tmp_path, plain="OPTIM: {LR: 1.0, MAX_EPOCH: 5, NAME: sgd}\n")
    yaml_files(tmp_path, middle="_BASE_: plain.yaml\nOPTIM: {LR: 2.0, MAX_EPOCH: 6}\nSEED: 3\n")
    yaml_files(tmp_path / "deeper", top="OPTIM:\n  LR: 3.0\n_BASE_: ../middle.yaml\n")
    expected = {"OPTIM": {"LR": 3.0, "MAX_EPOCH": 6, "NAME": "sgd"}, "SEED": 3}
    assert read_settings(tmp_path / "deeper/top.yaml") == expected
    monkeypatch.chdir(tmp_path / "deeper")
    cfg = default()
    merge_file(cfg, "top.yaml")  # paths start from the file, wherever the process runs
    assert (cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.NAME, cfg.SEED) == (3.0, 6, "sgd", 3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("_BASE_: b.yaml", "a.yaml: no file .*b.yaml, which _BASE_ names, did you mean bad.yaml"),
        ("_BASE_: no/b.yaml", "a.yaml: no file .*b.yaml, which _BASE_ names: there is no folder .*no$"),
        ("_BASE_: a.yaml", "_BASE_ goes in a circle: .*a.yaml -> .*a.yaml$"),
        ("_BASE_: ../x/c.yaml", "_BASE_ goes in a circle: .*a.yaml -> .*c.yaml -> .*a.yaml$"),
        ("_BASE_: 3", "a.yaml: _BASE_ is 3, expected the path"),
        ("_BASE_: /etc/passwd", "a.yaml: _BASE_ is '/etc/passwd', expected the path from it"),
        ("_BASE_: bad.yaml", "bad.yaml: unknown key OPTIM.LRR"),
        ("_BASE_: list.yaml", "list.yaml holds a list"),
    ],
)
def test_a_base_that_cannot_be_used_is_one_line(tmp_path, text, message):
    folder = tmp_path / "x"
    folder.mkdir()
    yaml_files(folder, a=text, c="_BASE_: a.yaml", bad="OPTIM: {LRR: 1}", list="- 1")
    with pytest.raises(ConfigError, match=message) as error:
        merge_file(default(), str(folder / "a.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "\\*a is an alias, write it out"),
        ("SEED: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
        ("SEED: 1\nSEED: 2", "the key SEED is there twice"),
        ("OPTIM: {LR: .nan}", "OPTIM.LR cannot be nan: it is not a finite number"),
        ("SEED: ~", "SEED cannot be None: it is empty"),
        ('DATASET: {NAME: "a\\0b"}', "it holds the control character U\\+0000"),
    ],
)
def test_hostile_yaml_is_one_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        merge_file(default(), "x.yaml")
    assert "x.yaml" in str(caught.value) and len(str(caught.value)) < 500
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize(
    "plain, message",
    [
        ({"SEED": "1"}, "log: SEED cannot be '1': expected a int"),
        ({"OPTIM": {"LR": float("nan")}}, "log: OPTIM.LR cannot be nan: it is not a finite number"),
        ({"OPTIM": 3}, "log: OPTIM cannot be 3: expected a CfgNode"),
        ({"TRAINER": {"MOCOOP": {"TOP_K": 1.5}}}, "log: TRAINER.MOCOOP.TOP_K cannot be 1.5: expected a int"),
        ({"USE_CUDA": 1}, "log: USE_CUDA cannot be 1: expected a bool"),
    ],
)
def test_plain_values_of_a_run_must_be_of_their_keys_kind(plain, message):
    with pytest.raises(ConfigError) as caught:
        fill(default(), plain, "log")
    assert str(caught.value) == message


def test_plain_values_of_a_run_are_taken_and_unknown_keys_left_out():
    cfg = default()
    fill(cfg, {"SEED": 3, "OPTIM": {"LR": 1}, "INPUT": {"SIZE": [32, 32], "NEW": 1}, "OLD": {"KEY": 2}}, "log")
    assert (cfg.SEED, cfg.OPTIM.LR, cfg.INPUT.SIZE) == (3, 1, (32, 32)) and "OLD" not in cfg


def test_a_whole_number_will_do_where_a_fraction_is_known(tmp_path):
    cfg = default()
    merge_overrides(cfg, ["OPTIM.LR", "20", "TRAIN.CHECKPOINT_MINUTES", "1"])
    assert (cfg.OPTIM.LR, cfg.TRAIN.CHECKPOINT_MINUTES) == (20.0, 1.0) and isinstance(cfg.OPTIM.LR, float)
    yaml_files(tmp_path, a="OPTIM: {LR: 3}")
    merge_file(cfg, str(tmp_path / "a.yaml"))
    assert cfg.OPTIM.LR == 3.0
