"""Merging yaml files and overrides: all that is wrong at once, in words a person can act on."""

import pytest

from mocoop.config import merge_file, merge_overrides
from mocoop.engine import get_cfg_default
from mocoop.errors import ConfigError
from mocoop.methods import extend_cfg


def default():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def test_yaml_and_overrides_take_effect_and_keep_types(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        'OPTIM:\n  WARMUP_CONS_LR: 1e-5\nINPUT:\n  SIZE: (64, 64)\nTRAINER:\n  MOCOOP:\n    GROUPS: [["a {}."]]\n'
    )
    cfg = default()
    merge_file(cfg, str(path))
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


def test_wrong_overrides():
    with pytest.raises(ConfigError, match="unknown key FOO.*unknown key OPTIM.BAR"):
        merge_overrides(default(), ["FOO", "1", "OPTIM.BAR", "2"])
    with pytest.raises(ConfigError, match="odd number of words: OPTIM.LR"):
        merge_overrides(default(), ["OPTIM.LR"])
    with pytest.raises(ConfigError, match="unknown key OPTIM"):
        merge_overrides(default(), ["OPTIM", "1"])


def test_missing_and_malformed_files(tmp_path):
    (tmp_path / "tiny.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="tiny.yaml is not valid yaml"):
        merge_file(default(), str(tmp_path / "tiny.yaml"))
    with pytest.raises(ConfigError, match="no config file .*tinny.yaml, did you mean tiny.yaml"):
        merge_file(default(), str(tmp_path / "tinny.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds a list"):
        merge_file(default(), str(tmp_path / "list.yaml"))


def test_yaml_that_would_build_objects_is_refused(tmp_path):
    (tmp_path / "evil.yaml").write_text("OPTIM: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match="evil.yaml is not valid yaml"):
        merge_file(default(), str(tmp_path / "evil.yaml"))
