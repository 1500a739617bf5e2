"""Every yaml in configs/ goes through train.py's own parser, and says how to run it."""

import json
from pathlib import Path

import pytest

import train
from mocoop.engine import get_cfg_default
from mocoop.methods import config_problems, extend_cfg
from mocoop.training import run_command
from tests.config_digests import RECORD, digests

CONFIGS = Path(__file__).parents[2] / "configs"
DATASET_FILES = sorted(CONFIGS.glob("datasets/*.yaml"))
TRAINER_FILES = sorted(CONFIGS.glob("trainers/**/*.yaml"))


def parse(dataset, trainer_file, *opts):
    trainer = trainer_file.relative_to(CONFIGS / "trainers").parts[0]
    flags = ["--trainer", trainer, "--dataset-config-file", str(dataset), "--config-file", str(trainer_file)]
    return run_command.setup_cfg(train.parse_args([*flags, *opts]))


def name(path):
    return str(path.relative_to(CONFIGS))


def test_there_is_something_to_check():
    assert len(DATASET_FILES) >= 18 and len(TRAINER_FILES) >= 40


@pytest.mark.parametrize("path", TRAINER_FILES, ids=name)
def test_trainer_config(path):
    dataset = CONFIGS / "datasets" / path.name
    cfg = parse(dataset if dataset.is_file() else CONFIGS / "datasets/shapes_both.yaml", path)
    assert config_problems(cfg) == []
    assert cfg.MODEL.BACKBONE.NAME and cfg.INPUT.SIZE[0] in (64, 224)
    assert "bash scripts/" in path.read_text().splitlines()[0]


@pytest.mark.parametrize("path", DATASET_FILES, ids=name)
def test_dataset_config(path):
    cfg = parse(path, CONFIGS / "trainers/CoOp/vit_b16.yaml")
    assert cfg.DATASET.NAME
    assert path.read_text().startswith("# ")


def test_released_and_paper_variants_cover_the_eleven_datasets_and_any_other():
    released, paper = (
        sorted(p.name for p in (CONFIGS / f"trainers/MoCoOp/{v}").iterdir()) for v in ("released", "paper")
    )
    assert released == paper and len(released) == 12


def test_every_file_says_what_was_recorded():
    """Whichever keys come from bases; `python -m tests.config_digests` records a change that is meant."""
    recorded = json.loads(RECORD.read_text())
    assert len(recorded) >= 266
    assert {path: digest for path, digest in digests().items() if path in recorded} == recorded


@pytest.mark.parametrize("path", [p for p in TRAINER_FILES if "MoCoOp" in p.parts], ids=name)
def test_what_a_coop_checkout_copies_is_whole_and_loads_with_yacs_alone(path):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.merge_from_file(str(path))
    assert cfg.INPUT.SIZE[0] in (64, 224) and cfg.OPTIM.MAX_EPOCH > 0
