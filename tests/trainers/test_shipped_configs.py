"""Every yaml in configs/ goes through train.py's own parser, and says how to run it."""

from pathlib import Path

import pytest

import train
from mocoop.methods import config_problems
from mocoop.training import run_command

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
