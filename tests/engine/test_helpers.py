"""Seeding, the log file, meters and the description of the environment."""

import logging
import random
import sys

import numpy as np
import pytest
import torch

from mocoop.training.environment import collect_env_info
from mocoop.training.log_file import setup_logger
from mocoop.training.meters import AverageMeter, MetricMeter
from mocoop.training.seeding import random_state, restore_random_state, set_random_seed


def draw():
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1).item()


def test_one_seed_fixes_all_generators():
    set_random_seed(0)
    first = draw()
    draw()
    set_random_seed(0)
    assert draw() == first


def test_random_state_survives_a_file(tmp_path):
    set_random_seed(3)
    draw()
    torch.save(random_state(), tmp_path / "state")
    expected = [draw(), draw()]
    set_random_seed(9)
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert [draw(), draw()] == expected


def test_logger_copies_stdout_until_closed(tmp_path, capsys):
    console = sys.stdout
    logger = setup_logger(str(tmp_path / "run"))
    print("seen twice")
    logger.close()
    logger.close()
    print("seen once")
    assert sys.stdout is console
    assert (tmp_path / "run" / "log.txt").read_text() == "seen twice\n"
    assert capsys.readouterr().out == "seen twice\nseen once\n"


def test_what_is_printed_is_in_the_file_at_once(tmp_path):
    with setup_logger(tmp_path / "x.log"):
        print("a line")
        assert (tmp_path / "x.log").read_text() == "a line\n"


def test_an_older_log_is_kept(tmp_path):
    for text in ("first", "second", "third"):
        with setup_logger(tmp_path):
            print(text)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts.pop("log.txt") == "first\n"
    assert sorted(texts.values()) == ["second\n", "third\n"]
    assert all(name.startswith("log.txt-20") for name in texts)


def test_loggers_nest_and_one_without_a_file_does_nothing(tmp_path):
    console = sys.stdout
    outer = setup_logger(tmp_path / "outer.txt")
    inner = setup_logger()
    print("x")
    inner.close()
    outer.close()
    assert sys.stdout is console and (tmp_path / "outer.txt").read_text() == "x\n"


def test_logging_handlers_can_write_through_it(tmp_path):
    with setup_logger(tmp_path) as tee:
        handler = logging.StreamHandler(tee)
        handler.emit(logging.LogRecord("n", logging.INFO, "", 0, "through logging", None, None))
        assert tee.isatty() is False
    assert (tmp_path / "log.txt").read_text() == "through logging\n"


def test_average_meter():
    meter = AverageMeter()
    meter.update(torch.tensor(2.0))
    meter.update(5.0, n=2)
    assert (meter.val, meter.avg, meter.count) == (5.0, 4.0, 3)
    smooth = AverageMeter(ema=True)
    smooth.update(10.0)
    assert smooth.avg == pytest.approx(1.0)


def test_metric_meter():
    meter = MetricMeter()
    meter.update({"loss": torch.tensor(1.0), "acc": 50})
    meter.update({"loss": 2.0})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (1.5000) acc 50.0000 (50.0000)"
    with pytest.raises(TypeError, match="got list"):
        meter.update([1.0])


def test_environment_names_what_matters():
    text = collect_env_info()
    assert f"torch: {torch.__version__.split('+')[0]}" in text and "Python: 3." in text and "GPUs: " in text
