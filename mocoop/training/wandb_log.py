"""Weights & Biases, where TRAIN.WANDB names a project: off by default, and not imported unless it does."""

import importlib
import secrets
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from mocoop.errors import ConfigError, reason_of
from mocoop.results.record import plain_config

ID_FILE = "wandb.id"  # in a run's folder, so that a run that goes on after a break stays one run there


class WandbLog:
    """A run at Weights & Biases; "train/loss" and "test/accuracy" count their steps each for themselves."""

    def __init__(self, run: Any):  # wandb's, which is imported where it is wanted alone
        self.run = run
        self._sections: set[str] = set()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Log a value; `step` counts batches or epochs, as the caller does for this section of tags."""
        section = tag.partition("/")[0]
        counter = f"{section}/step"
        if section not in self._sections:
            self._sections.add(section)
            self.run.define_metric(counter)
            self.run.define_metric(f"{section}/*", step_metric=counter)
        self.run.log({tag: value, counter: step})

    def close(self) -> None:
        """Send what is left, and end the run there."""
        self.run.finish()


def start(cfg: CfgNode, folder: str | Path) -> WandbLog | None:
    """A log for the run in `folder`; None unless TRAIN.WANDB names a project.

    Raises ConfigError if it does and wandb is not installed or cannot be started.
    """
    project = cfg.TRAIN.get("WANDB", "")
    if not project:
        return None
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            f'TRAIN.WANDB is "{project}", but wandb cannot be imported ({error}): pip install wandb, or leave it empty'
        ) from error
    name = f"{cfg.TRAINER.NAME} {cfg.DATASET.NAME} {cfg.DATASET.NUM_SHOTS} shots seed {cfg.SEED}"
    options = {"id": _run_id(Path(folder)), "resume": "allow", "dir": str(folder), "config": plain_config(cfg)}
    try:
        return WandbLog(wandb.init(project=project, name=name, **options))
    except Exception as error:  # wandb raises many kinds, for a missing login or network
        raise ConfigError(
            f'TRAIN.WANDB is "{project}", but Weights & Biases cannot be started ({reason_of(error)}): run '
            "`wandb login`, set WANDB_MODE=offline, or leave TRAIN.WANDB empty"
        ) from error


def _run_id(folder: Path) -> str:
    path = folder / ID_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(8) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
