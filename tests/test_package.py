"""What is distributed: the source distribution holds a checkout, and the wheel built from it trains in an empty folder.

Nothing is downloaded: the build takes the setuptools that is here, and the dependencies are those of the tests.
"""

import json
import os
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
    """The folder that the wheel of the source distribution is installed in."""
    pip, folder = (sys.executable, "-m", "pip", "-q"), source.parent
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", folder / "wheel", source, cwd=folder)
    (wheel,) = (folder / "wheel").glob("*.whl")
    run(*pip, "install", "--no-deps", "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


@pytest.fixture
def mocoop(site, tmp_path):
    """Runs the console command that the wheel installs, in an empty folder."""
    settings = {name: value for name, value in os.environ.items() if name not in ("DATA", "OUTPUT", "CFG", "OPTS")}

    def command(*words) -> str:
        env = settings | {"PYTHONPATH": str(site)}
        return run(sys.executable, site / "bin/mocoop", *words, cwd=tmp_path, env=env)

    return command


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


def test_the_tools_work_without_a_checkout(mocoop, site, tmp_path):
    assert "imagenet " in mocoop("datasets", "list") and "configs/datasets/dtd.yaml" in mocoop(
        "datasets", "info", "dtd"
    )
    lines = mocoop("run", "base2new", "--methods", "MoCoOp", "--datasets", "shapes_both", "--dry-run").splitlines()
    assert len(lines) == 6 and all(" -m mocoop.train --root data " in line for line in lines)
    assert "--dataset-config-file" in mocoop("train", "--help") and list(tmp_path.iterdir()) == []


def test_the_wheel_trains_in_an_empty_folder(mocoop, data_root, tmp_path):
    quick = ("DATALOADER.NUM_WORKERS", "0", "OPTIM.MAX_EPOCH", "1")
    plan = ("--methods", "CoOp", "--datasets", "shapes_both", "--seeds", "1", "--shots", "1", "--data", data_root)
    assert "| shapes_both | CoOp " in mocoop("run", "base2new", *plan, "--", *quick)
    assert (tmp_path / "output/base2new/report.html").is_file()

    make_own_tree(tmp_path / "birds")
    mocoop("datasets", "new", "birds")
    files = ["--dataset-config-file", "configs/datasets/birds.yaml"]
    files += ["--config-file", "configs/trainers/MoCoOp/tiny.yaml"]  # one of the folder's, one of the package's
    log = mocoop("train", "--seed", "1", "--trainer", "MoCoOp", *files, "--output-dir", "out", *quick)
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert (result["status"], result["method"], result["dataset"]) == ("done", "MoCoOp", "Folder")
    assert log.count("* accuracy:") == 1
