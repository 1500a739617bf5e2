"""The experiments of scripts/ on a stand-in for train.py, whose answers depend on the variant."""

import shutil

import pytest

from scripts import groups_by_hand_or_not, variants, when_routing_pays
from tests.protocols.checkout import make_checkout
from tests.protocols.conftest import environment, forked  # noqa: F401 (fixtures)
from tests.scripts.checkout import REPOSITORY

ACT = """
    from mocoop.results.routing import ROUTERS
    from tests.results.runs import add_answers, make_routing
    found = {"load": [50.0, 50.0], "agreement": 60.0, "accuracy": dict.fromkeys(ROUTERS, 60.0)}
    run |= {"shots": int(run["shots"][6:]), "seed": int(run["seed"][4:])}
    run["routing"] = make_routing(["photo", "dark"], 2, 90.0) | {"routers": found}
    add_answers(folder.parents[6], right=0.9 if folder.parts[-8] in ("top2", "by_hand") else 0.5, **run)
    sys.exit(0)
"""


@pytest.fixture
def run(tmp_path, forked, monkeypatch):  # noqa: F811
    """An experiment with two seeds, in a made-up checkout; the folder of its results."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    make_checkout(tmp_path, ACT)
    for folder in ("configs/datasets", "configs/trainers/MoCoOp"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, dirs_exist_ok=True)
    monkeypatch.setattr(variants, "CHECKOUT", tmp_path)

    def run(experiment):
        monkeypatch.setattr(experiment, "OUTPUT", tmp_path / "results")
        monkeypatch.setattr(experiment, "SEEDS", (1, 2))
        monkeypatch.setattr("sys.argv", [experiment.__name__])
        assert experiment.main() == 0
        return tmp_path / "results"

    return run


def test_when_routing_pays_has_its_tables_and_figure(run):
    folder = run(when_routing_pays)
    rows = [line for line in (folder / "table.md").read_text().splitlines() if "1, 2" in line]
    assert len(rows) == 5 and all("90.00 ± 0.00" in row and "60.00 ± 0.00" in row for row in rows)
    verdicts = [line for line in (folder / "verdicts.md").read_text().splitlines() if "+40.0" in line]
    assert len(verdicts) == 5 and all(row.count("+40.0 (") == row.count("better") == 3 for row in verdicts)
    assert (folder / "when_routing_pays.png").is_file()


def test_groups_by_hand_are_told_from_others(run):
    folder = run(groups_by_hand_or_not)
    text = (folder / "table.md").read_text()
    assert text.count("90.00 ± 0.00") == 3 and text.count("-40.0 (") == 3
    assert len((folder / "sentences.txt").read_text().splitlines()) == 27


def test_random_groups_have_the_sizes_of_those_made_by_hand():
    groups = groups_by_hand_or_not.by_hand()
    one, other = (groups_by_hand_or_not.shuffled(groups, seed) for seed in (1, 2))
    assert [len(group) for group in one] == [len(group) for group in groups] and one != other
    assert sorted(sum(one, [])) == sorted(sum(groups, [])) and one == groups_by_hand_or_not.shuffled(groups, 1)
