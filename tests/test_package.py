"""What is distributed: the source distribution holds a checkout, and the wheel built from it trains in an empty folder.

Nothing is downloaded: the build takes the setuptools that is here, and the dependencies are those of the tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mocoop import __version__
from tests.datasets.own import make_own_tree

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta; build_meta.build_sdist('dist')"
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="git says what belongs to the checkout"
)


def run(*command, cwd: Path, env: dict | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*options: str) -> list[str]:
    listed = run("git", "ls-files", *options, cwd=ROOT).splitlines()
    return [path for path in listed if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The unpacked source distribution of a copy of this checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    for path in tracked("--cached", "--others", "--exclude-standard"):
        (folder / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / "copy" / path)
    run(sys.executable, "-c", BUILD, cwd=folder / "copy")
    (archive,) = (folder / "copy/dist").glob("mocoop-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def site(source) -> Path:
    """The folder that the wheel of the source distribution is built for and installed in."""
    site, options = source.parent / "site", ("-q", "--no-build-isolation", "--no-deps")
    run(sys.executable, "-m", "pip", "install", *options, "--target", site, source, cwd=source.parent)
    return site


@pytest.fixture
def python(site, tmp_path):
    """Runs Python with what the wheel installs, in an empty folder."""
    settings = {name: value for name, value in os.environ.items() if name not in ("DATA", "OUTPUT", "CFG", "OPTS")}
    return lambda *words: run(sys.executable, *words, cwd=tmp_path, env=settings | {"PYTHONPATH": str(site)})


def test_the_version_is_said_alike():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert (ROOT / "CHANGELOG.md").read_text().partition("\n## ")[2].split()[0] == __version__


def test_the_source_distribution_holds_what_the_checkout_holds(source):
    assert [path for path in tracked() if not (source / path).is_file()] == []


def test_the_wheel_brings_no_package_of_a_common_name(site):
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"mocoop", "bin"}
    assert (site / "mocoop/py.typed").is_file()


def test_the_wheel_carries_all_configs_and_datasets(site):
    shipped = site / "mocoop/_shipped"
    here = [path for path in tracked() if path.startswith(("configs/", "datasets/"))]
    assert here and [path for path in here if not (shipped / path).is_file()] == []


TOOLS = """
import os
from mocoop.cli import main
main(["datasets", "list"]), main(["datasets", "info", "dtd"])
print("plan:", flush=True), main("run base2new --methods MoCoOp --datasets shapes_both --dry-run".split())
print("left:", *os.listdir(), flush=True), main(["datasets", "new", BIRDS])
main(["train", "--help"])
"""


def test_the_tools_work_and_train_in_an_empty_folder(python, site, tmp_path):
    """The training by the console command, with one config of the folder's and one of the package's."""
    birds = make_own_tree(tmp_path.with_name("birds"))
    datasets, plan, made, usage = re.split("plan:\n|left:|usage: ", python("-c", f"BIRDS = {str(birds)!r}{TOOLS}"))
    assert "imagenet " in datasets and "configs/datasets/dtd.yaml" in datasets
    assert plan.count("\n") == 6 and all(" -m mocoop.train --root data " in line for line in plan.splitlines())
    assert made.startswith("\n") and "--dataset-config-file" in usage
    asked = ("--methods", "MoCoOp", "--datasets", "birds", "--cfg", "tiny", "--seeds", "1", "--shots", "2")
    quick = ("DATALOADER.NUM_WORKERS", "0", "OPTIM.MAX_EPOCH", "1")
    assert "| birds " in python(site / "bin/mocoop", "run", "base2new", *asked, "--", *quick)
    assert (tmp_path / "output/base2new/report.html").is_file()
    (made,) = tmp_path.glob("output/base2new/train_base/birds/shots_2/MoCoOp/tiny/seed1")
    result = json.loads((made / "result.json").read_text())
    assert (result["status"], result["method"], result["dataset"]) == ("done", "MoCoOp", "Folder")
    assert (made / "log.txt").read_text().count("* accuracy:") == 1
