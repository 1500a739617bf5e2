"""The trainers on real Dassl, and in a real CoOp checkout; skipped where they are not there.

To run: install Dassl (docs/running.md), and for the last test set COOP_CHECKOUT to a clone of CoOp.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mocoop.results.csv_files import read_history
from tests.faults.outcomes import differences
from tests.faults.runs import BY_STEPS
from tests.trainers.test_train import command

ROOT = Path(__file__).parents[2]
FEW = ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "2"]
pytestmark = pytest.mark.skipif(importlib.util.find_spec("dassl") is None, reason="Dassl is not installed")


KILLED = """
import sys, train
from tests.faults.moments import Moments, kill, training_steps
training_steps(Moments(kill, at=int(sys.argv[1])))()
sys.exit(train.main(sys.argv[2:]))
"""


def run(engine, argv, cwd=ROOT):
    done = start(engine, argv, "train.py", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(engine, argv, *script, cwd=ROOT):
    path = os.pathsep.join([str(cwd), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"MOCOOP_ENGINE": engine, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *script, *argv], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("trainer", ["CoOp", "MoCoOp"])
def test_both_engines_draw_the_same_subset_and_reach_the_same_losses(tmp_path, trainer):
    for engine in ("lite", "dassl"):
        argv = command(tmp_path / engine, tmp_path / "out" / engine, trainer, *FEW)
        run(engine, argv)
    lite, dassl = (json.loads((tmp_path / "out" / engine / "result.json").read_text()) for engine in ("lite", "dassl"))
    assert (lite["engine"], dassl["engine"]) == ("lite", "dassl")
    assert lite["manifest_sha256"] == dassl["manifest_sha256"]
    losses = [read_history(tmp_path / "out" / engine / "history.csv")["loss"].tolist() for engine in ("lite", "dassl")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert lite["metrics"] == pytest.approx(dassl["metrics"])


@pytest.mark.parametrize("trainer", ["CoOp", "MoCoOp"])
def test_a_run_killed_in_mid_epoch_on_dassl_ends_as_if_nothing_had_happened(runs, trainer):
    """Weights, learning rates with warm-up, losses, optimiser, results: all to the bit."""
    whole, broken = runs.new(trainer), runs.new(trainer, *BY_STEPS)
    run("dassl", whole.argv())
    for moment in (13, 16):  # before the fifth step, in warm-up, and before the tenth, the sixth of that process
        assert start("dassl", broken.argv(), "-c", KILLED, str(moment)).returncode == -signal.SIGKILL
    assert "will resume training after epoch 2, batch 2" in run("dassl", broken.argv())
    assert differences(broken.out, whole.out) == []
    rates = read_history(broken.out / "history.csv")["lr"].tolist()
    assert rates == pytest.approx(3 * [1e-5] + 3 * [1e-5] + 3 * [0.02] + 3 * [0.0170711], rel=1e-5)


@pytest.mark.skipif("COOP_CHECKOUT" not in os.environ, reason="COOP_CHECKOUT does not name a clone of CoOp")
def test_in_a_coop_checkout_with_two_lines_added(tmp_path):
    checkout = tmp_path / "CoOp"
    shutil.copytree(os.environ["COOP_CHECKOUT"], checkout, ignore=shutil.ignore_patterns(".git"))
    shutil.copy(ROOT / "trainers/mocoop.py", checkout / "trainers")
    shutil.copytree(ROOT / "configs/trainers/MoCoOp", checkout / "configs/trainers/MoCoOp")
    script = (checkout / "train.py").read_text()
    script = script.replace("import trainers.zsclip\n", "import trainers.zsclip\nimport trainers.mocoop\n")
    last = '    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base or new\n'
    assert last in script
    (checkout / "train.py").write_text(script.replace(last, last + "    trainers.mocoop.add_mocoop_config(cfg)\n"))
    oxford_pets(tmp_path / "data")
    # The embedded CLIP stands in for ViT-B/16's weights, so that nothing is downloaded.
    argv = ["--root", str(tmp_path / "data"), "--output-dir", str(tmp_path / "out"), "--seed", "1"]
    argv += ["--trainer", "MoCoOp"]
    argv += ["--dataset-config-file", "configs/datasets/oxford_pets.yaml", "--backbone", "tiny"]
    argv += ["--config-file", "configs/trainers/MoCoOp/released/oxford_pets.yaml", "INPUT.SIZE", "(64, 64)"]
    argv += ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base"]
    argv += ["DATALOADER.NUM_WORKERS", "0"]
    assert "* accuracy:" in run("auto", argv, cwd=checkout)
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "out"), "--load-epoch", "1"]
    position = argv.index("INPUT.SIZE")
    new = ["DATASET.SUBSAMPLE_CLASSES", "new", "OUTPUT_DIR", str(tmp_path / "new")]
    argv = [*argv[:position], *evaluate, *argv[position:], *new]
    assert "* accuracy:" in run("auto", argv, cwd=checkout)


def oxford_pets(root):
    """Four breeds in the layout that CoOp expects, by its split file."""
    folder, split = root / "oxford_pets", {"train": [], "val": [], "test": []}
    (folder / "images").mkdir(parents=True)
    for label, breed in enumerate(["beagle", "pug", "sphynx", "bengal"]):
        for i in range(9):
            name = f"{breed}_{i}.jpg"
            Image.new("RGB", (80, 70), (60 * label, 20 * i, 90)).save(folder / "images" / name)
            split[("train", "val", "test")[i % 3]].append([name, label, breed])
    (folder / "split_zhou_OxfordPets.json").write_text(json.dumps(split))
