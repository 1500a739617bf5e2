"""A checkout with the real scripts, made-up configurations, and an interpreter that only prints a run's arguments."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mocoop.protocols.script import main
from tests.faults import victims

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = {"mocoop": "MoCoOp", "coop": "CoOp", "cocoop": "CoCoOp", "zsclip": "ZeroshotCLIP"}  # by folder
DATASETS = ("imagenet", "imagenet_sketch", "caltech101", "shapes_both")
EPOCHS = {
    "CoOp/vit_b16_ctxv1": 200,
    "CoOp/vit_b16_ep50_ctxv1": 50,
    "CoOp/vit_b16": 200,
    "CoOp/vit_b16_ep100": 100,
    "CoOp/vit_b16_ep50": 50,
    "CoOp/tiny": 4,
    "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1": 10,
    "MoCoOp/released/imagenet": 11,
    "MoCoOp/released/caltech101": 52,
    "MoCoOp/tiny": 3,
    "ZeroshotCLIP/vit_b16": 1,
    "ZeroshotCLIP/tiny": 1,
}


class Checkout:
    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "*.png"))
        (root / "mocoop").symlink_to(REPOSITORY / "mocoop")
        for dataset in DATASETS:
            self.write(f"configs/datasets/{dataset}.yaml", f"DATASET:\n  NAME: {dataset}\n")
        for name, epochs in EPOCHS.items():
            optim = f"OPTIM:\n  LR: 0.1\n  # as released\n  MAX_EPOCH: {epochs}\n"
            text = f"LOADER:\n  MAX_EPOCH: 999\n{optim}TRAIN:\n  X: 1\n"
            self.write(f"configs/trainers/{name}.yaml", text)
        self.python = self.write_python("stub/python", 'echo "$@"')
        (root / "data").mkdir()

    def write(self, path: str, text: str) -> Path:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        return self.root / path

    def write_python(self, path: str, train: str) -> Path:
        """An interpreter that runs `train`, a line of shell, in place of train.py."""
        path = self.write(path, f'#!/bin/sh\n[ "$1" = train.py ] || exec {sys.executable} "$@"\n{train}\n')
        path.chmod(0o755)
        return path

    def start(self, script: str, *arguments, cwd=None, **settings) -> subprocess.Popen:
        """Starts scripts/<script> with nothing of this process's environment but where programs are."""
        return subprocess.Popen(
            ["bash", str(self.root / "scripts" / script), *map(str, arguments)],
            cwd=cwd or self.root,
            env=self._environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def bash(self, script: str, *arguments, **options) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, script: str, *arguments, cwd=None, **settings) -> victims.Ending:
        """What a script of a protocol comes to, without its shell: its Python in a fork of this process."""
        path = self.root / "scripts" / script
        usage, method = re.search(
            r'# Usage: (.+?)\n.*/common\.sh" (?:(\w+) )?"\$@"$', path.read_text(), re.DOTALL
        ).groups()
        words = [str(path), str(cwd or self.root), usage, *filter(None, [method]), *map(str, arguments)]

        def prepare():
            os.environ.clear()
            os.environ.update(self._environment(settings))
            os.chdir(self.root)

        return victims.run(lambda: main(*words), self.root / "printed", prepare)

    def lines(self, script: str, *arguments, **settings) -> list[str]:
        """What a script that must succeed prints: one command line per run."""
        ending = self.call(script, *arguments, **settings)
        assert ending.status == 0, ending.err
        return ending.out.splitlines()

    def _environment(self, settings: dict) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return keep | {"PYTHON": str(self.python)} | {name: str(value) for name, value in settings.items()}
