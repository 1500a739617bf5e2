"""A method from outside the package, through base2new, the table and a prediction.

Each step is a process of its own, forked from this one, so that the plugin is left in none.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mocoop.protocols import execute
from tests.faults import victims
from tests.protocols.forks import ForkedWorker

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples/feature_shift.py"


@pytest.fixture(scope="module")
def output(trained_runs, tmp_path_factory):
    """The results of `mocoop run base2new` with the example beside a method of the package."""
    output = tmp_path_factory.mktemp("plugin") / "output"
    asked = ["--methods", "ZeroshotCLIP,FeatureShift", "--plugin", PLUGIN, "--datasets", "shapes_both"]
    where = ["--data", trained_runs.data_root, "--output", output]
    overrides = ["--", "OPTIM.MAX_EPOCH", "1", "OPTIM.LR", "1.0"]
    done = mocoop(output.parent, "run", "base2new", *asked, "--seeds", "1", "--shots", "2", *where, *overrides)
    assert done.status == 0, done.err
    return output


def mocoop(folder, *arguments) -> victims.Ending:
    def prepare():
        os.chdir(ROOT)
        logging.getLogger().handlers.clear()  # pytest's own
        execute.Worker = ForkedWorker

    return victims.run(victims.tool(*map(str, arguments)), folder, prepare)


def test_it_stands_in_the_table_behind_the_packages_methods(output, tmp_path):
    done = mocoop(tmp_path, "table", output)
    assert done.status == 0 and not done.err
    rows = [line.split("|")[1:4] for line in done.out.splitlines() if line.startswith("| shapes_both")]
    assert [row[1].strip() for row in rows] == ["ZeroshotCLIP", "FeatureShift"]
    assert all(float(row[2].strip(" *")) > 10 for row in rows)  # chance is 2.5
    assert (output / "base2new/report.html").is_file()


def test_it_learned_and_predicts(output, trained_runs, tmp_path):
    run = next(output.glob("base2new/train_base/*/*/FeatureShift/tiny/seed1"))
    image = next((trained_runs.whole_root / "shapes_both").rglob("*.png"))
    done = mocoop(tmp_path, "predict", "--model", run, image, "--plugin", PLUGIN)
    assert done.status == 0 and image.name in done.out, done.err
    assert "FeatureShift" in mocoop(tmp_path, "predict", "--model", run, image).refusal


def test_the_scripts_take_it_too(tmp_path):
    words = ["bash", "scripts/base2new_train.sh", "FeatureShift", "shapes_both", "1"]
    environment = {**os.environ, "PLUGIN": str(PLUGIN), "DRY_RUN": "1", "PYTHON": sys.executable}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"--plugin {PLUGIN}" in done.stdout and "examples/configs/FeatureShift/tiny.yaml" in done.stdout


def test_it_is_as_short_as_is_said():
    assert len(PLUGIN.read_text().splitlines()) < 60


def test_the_readme_shows_it_as_it_is():
    shown = (ROOT / "README.md").read_text().partition("```python\n@register_method")[2].partition("```")[0]
    assert shown and PLUGIN.read_text().endswith("@register_method" + shown)
