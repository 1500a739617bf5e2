"""Runs do not depend on PYTHONHASHSEED, in which the order of every set of texts lies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mocoop.results.record import read_record
from tests.faults import victims

ROOT = Path(__file__).parents[2]
LABELS = ("1", "10", "4", "6", "05", "5", "٣")  # two have the same value, one is in other digits
DOMAINS = ("photo", "sketch", "dark")
OPTIONS = {
    "DATASET.NAME": "Folder",
    "DATASET.FOLDER.CSV": "images.csv",
    "DATASET.NUM_SHOTS": "2",
    "DATALOADER.NUM_WORKERS": "0",
    "OPTIM.MAX_EPOCH": "1",
    "OPTIM.WARMUP_EPOCH": "-1",
    "TEST.ZERO_SHOT_IMAGES": "0",
    "TRAINER.MOCOOP.GROUPS": "auto",
    "TRAINER.MOCOOP.GROUP_NAMES": "()",
    "TRAINER.MOCOOP.AUTO_TEMPLATES": "clip",
}


def make_data(root: Path) -> None:
    rng = np.random.default_rng(0)
    root.mkdir()
    lines = ["path,label,domain"]
    for number in range(len(LABELS) * 6):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(root / f"{number}.png")
        lines.append(f"{number}.png,{LABELS[number % len(LABELS)]},{DOMAINS[number % len(DOMAINS)]}")
    (root / "images.csv").write_text("\n".join(lines) + "\n")


def command(folder: Path) -> list[str]:
    folder.mkdir()
    make_data(folder / "data")
    config = ROOT / "configs/trainers/MoCoOp/tiny.yaml"
    flags = ["--root", str(folder / "data"), "--seed", "1", "--output-dir", str(folder / "out")]
    flags += ["--trainer", "MoCoOp", "--config-file", str(config)]
    return [*flags, *(word for pair in OPTIONS.items() for word in pair)]


def run_here(folder: Path) -> None:
    """In a fork of this process, which has a hash seed of its own."""
    ending = victims.run(victims.training(*command(folder)), folder / "printed")
    assert ending.status == 0, ending.err


def run_with_another_hash_seed(folder: Path) -> None:
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1", "MOCOOP_CACHE": "off"}
    argv = [sys.executable, str(ROOT / "train.py"), *command(folder)]
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def learned(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = (folder / "out/prompt_learner").glob("model.pth.tar-*")
    return torch.load(path, weights_only=True)["state_dict"]


def test_two_hash_seeds_give_one_run(tmp_path):
    folders = tmp_path / "here", tmp_path / "elsewhere"
    run_here(folders[0])
    run_with_another_hash_seed(folders[1])
    for name in ("out/history.csv", "out/predictions.csv", "data/split_zhou_images.json"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
    first, second = (sorted((folder / "data/split_fewshot/images").iterdir()) for folder in folders)
    assert [path.name for path in first] == ["shot_2-seed_1.jsonl"]
    assert first[0].read_bytes() == second[0].read_bytes()
    assert len({json.loads(line)["classname"] for line in first[0].read_text().splitlines()}) == len(LABELS)
    first, second = (read_record(folder / "out/result.json") for folder in folders)
    for key in ("metrics", "per_class", "routing", "manifest_sha256", "config_sha256"):
        assert first[key] == second[key], key
    first, second = map(learned, folders)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
