"""Seeding, the log file, its lines and the description of the environment."""

import random
import sys

import numpy as np
import torch

from mocoop.console import logged
from mocoop.training.journal import Progress
from mocoop.training.run_state import set_random_seed
from mocoop.versions import collect_env_info


def draw():
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1).item()


def test_one_seed_fixes_all_generators():
    set_random_seed(0)
    first = draw()
    draw()
    set_random_seed(0)
    assert draw() == first


def test_what_is_printed_is_in_the_log_at_once(tmp_path, capsys):
    console = sys.stdout
    with logged(str(tmp_path / "run")) as tee:
        print("seen twice")
        assert (tmp_path / "run" / "log.txt").read_text() == "seen twice\n"
        assert tee.isatty() is False
    print("seen once")
    assert sys.stdout is console
    assert (tmp_path / "run" / "log.txt").read_text() == "seen twice\n"
    assert capsys.readouterr().out == "seen twice\nseen once\n"


def test_an_older_log_is_kept(tmp_path):
    for text in ("first", "second", "third"):
        with logged(tmp_path):
            print(text)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts.pop("log.txt") == "first\n"
    assert sorted(texts.values()) == ["second\n", "third\n"]
    assert all(name.startswith("log.txt-20") for name in texts)


def test_the_line_of_a_training_log():
    progress = Progress()
    for losses in ({"loss": torch.tensor(1.0), "acc": 50}, {"loss": 2.0}):
        progress.start_batch()
        progress.data_ready()
        progress.batch_done()
        progress.add(losses)
    line = progress.line(epoch=1, max_epoch=3, batch=1, num_batches=4, batches_left=6, lr=0.002)
    assert line.startswith("epoch [2/3] batch [2/4] time 0.0") and line.endswith("lr 2.0000e-03 eta 0:00:00")
    assert " loss 2.0000 (1.5000) acc 50.0000 (50.0000) " in line


def test_environment_names_what_matters():
    text = collect_env_info()
    assert f"torch: {torch.__version__.split('+')[0]}" in text and "Python: 3." in text and "GPUs: " in text
